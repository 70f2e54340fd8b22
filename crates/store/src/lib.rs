//! The one encrypted database of a device: SQLite with SQLCipher, opened with a raw key, and a journal in front of it. It holds
//! the receipts, the books: what may be spent, what is set aside, and what was spent; and labels, which say how answers turned out.
//!
//! What a caller may rely on: when [`Store::settle`] or [`Store::reserve`] has returned, what it did is committed; it
//! survives the death of this process at any point (`kill -9`, a crash). It is handed to the operating system and not
//! forced to the disk, so a power cut or a crash of the system may lose the last moments; it never damages what was there
//! before. No cap is ever passed, under any interleaving: there is one writer, and it checks and sets aside in one step.
//!
//! Layout: [`Store`] is the handle; `writer` changes what is in memory and writes it down, what has queued up as one record;
//! `desk` on whose thread that happens; `work` what is queued; `state` what the writer knows without asking the database;
//! `books` reservations, caps and the ledger; `written` rows as bytes; `journal` the files that hold them until `folder`, the one
//! connection that changes the database, has brought them to their tables, a `fold` at a time; `labels` how answers turned out; `reader` the thread that
//! answers queries; `transaction` named, retried transactions; `migrations` the schema and its versions; `rows` and `detail` how a
//! receipt is written down; `connection`, `key` and `lock` what opening takes.
//!
//! Invariants: nobody outside knows SQL; no SQL runs on a caller's thread except in [`Store::open`] and to look up a row in the
//! calls that write; the database is never behind the beginning of the journal; a file that cannot be opened is reported and
//! never deleted, replaced or repaired; this crate reads no clock and no environment.
#![forbid(unsafe_code)]

mod books;
mod connection;
mod desk;
mod detail;
mod error;
mod fold;
mod folder;
mod journal;
mod key;
mod labels;
mod lock;
mod migrations;
mod reader;
mod rows;
mod state;
mod store;
mod transaction;
mod work;
mod writer;
mod written;

pub use books::{
    Balance, CloseError, Dispute, Doubt, Expired, ReserveError, Reserved, Settled, SpendBy, SpendKey,
    SpendQuery, SpendRow, TokenSums, Use,
};
pub use error::StoreError;
pub use key::Key;
pub use labels::{
    LABELS, LABELS_OF_PAIR, Label, LabelSource, MOST_SIGNALS, REMEMBERED, REMEMBERED_MILLIS, Statistics,
    Verdict,
};
pub use store::{MAX_LISTED, RETAINED_RECEIPTS, Store, StoreOptions};
