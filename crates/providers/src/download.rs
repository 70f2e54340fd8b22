//! Model pulls.
