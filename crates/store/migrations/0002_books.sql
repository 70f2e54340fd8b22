-- What may be spent and what was. The ledger is the truth. `counters`, `reservations`, `sums` and `receipt_ids` follow from
-- it and from the receipts: they are as of the rows that `folded` names, and what came later is added when the store is
-- opened. Money is micro-units; times are milliseconds since the Unix epoch, days are days since it.

-- On whose account money is spent and tokens are used, where, and in which currency. An empty target: nothing answered.
CREATE TABLE accounts (
    account      INTEGER PRIMARY KEY,
    currency     TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    app          TEXT    NOT NULL,
    user         TEXT,
    organisation TEXT,
    feature      TEXT
) STRICT;

-- One row is one transaction, and the four columns of money are its postings to the four parts of its account; they sum
-- to nothing. `entry`: 1 reserved, 2 settled, 3 released, 4 doubted, 5 charged. `at` is when it was posted, `day` the day of
-- the reservation. Tokens, calls and bytes are those set aside (1) or used (2, 5). `counters` are those that the
-- reservation was claimed from (1).
CREATE TABLE ledger (
    seq         INTEGER PRIMARY KEY,
    entry       INTEGER NOT NULL,
    reservation BLOB    NOT NULL,
    receipt     BLOB    NOT NULL,
    account     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    available   INTEGER NOT NULL,
    reserved    INTEGER NOT NULL,
    in_doubt    INTEGER NOT NULL,
    spent       INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    bytes_out   INTEGER NOT NULL,
    counters    BLOB    NOT NULL,
    CHECK (available + reserved + in_doubt + spent = 0)
) STRICT;

CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;

CREATE TRIGGER ledger_is_not_removed BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;

-- One window of one cap for one subject. Caps of one request have none: they are counted in memory only.
CREATE TABLE counters (
    counter  INTEGER PRIMARY KEY,
    cap      TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    measure  TEXT    NOT NULL,
    window   TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    since    INTEGER NOT NULL,
    ends     INTEGER NOT NULL,
    settled  INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    in_doubt INTEGER NOT NULL,
    UNIQUE (cap, subject, measure, window, currency, since),
    CHECK (settled >= 0 AND reserved >= 0 AND in_doubt >= 0)
) STRICT;

-- Reservations that are open or in doubt. Those that are closed have left for the ledger.
CREATE TABLE reservations (
    reservation BLOB    PRIMARY KEY,
    receipt     BLOB    NOT NULL,
    account     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    doubted     INTEGER NOT NULL,
    money       INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    bytes_out   INTEGER NOT NULL,
    counters    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- What each account used on each day. Outlives the receipts.
CREATE TABLE sums (
    day           INTEGER NOT NULL,
    account       INTEGER NOT NULL,
    requests      INTEGER NOT NULL,
    prompt        INTEGER NOT NULL,
    cached        INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    device_prompt INTEGER NOT NULL,
    device_cached INTEGER NOT NULL,
    device_output INTEGER NOT NULL,
    settled       INTEGER NOT NULL,
    in_doubt      INTEGER NOT NULL,
    PRIMARY KEY (day, account)
) STRICT, WITHOUT ROWID;

-- One row: up to which row of the ledger and of the receipts the tables above are.
CREATE TABLE folded (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    ledger   INTEGER NOT NULL,
    receipts INTEGER NOT NULL
) STRICT;

INSERT INTO folded VALUES (1, 0, 0);
