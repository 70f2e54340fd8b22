# What is done often. `just --list` shows this.

# everything that CI checks
ci:
    .ci/run

# the daemon in the foreground
serve *ARGS:
    cargo run --release -- serve {{ARGS}}

# all tests
test:
    cargo test --workspace

# formatting, lints, and the rules no compiler knows
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy

# look at changed snapshots one by one
review:
    cargo insta review
