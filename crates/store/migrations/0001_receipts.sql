-- One row for each request that was settled. Written once, never changed; the oldest leave when there are too many.
-- `seq` counts commits without a gap, so that the number of rows is known without counting them.
-- What is asked for in queries has a column; the lists that only a whole receipt shows are in `detail` (postcard, see
-- detail.rs). Times are microseconds, except `at`: milliseconds since the Unix epoch. Words that are one of a few are
-- numbers (see rows.rs): with them three rows fit in a page where two did before.
CREATE TABLE receipts (
    seq                  INTEGER PRIMARY KEY,
    id                   BLOB    NOT NULL,
    request              BLOB    NOT NULL,
    trace                BLOB    NOT NULL,
    at                   INTEGER NOT NULL,
    account              INTEGER NOT NULL,
    app                  TEXT    NOT NULL,
    user                 TEXT,
    organisation         TEXT,
    feature              TEXT,
    profile              INTEGER NOT NULL,
    asked                TEXT    NOT NULL,
    target               TEXT,
    tier                 INTEGER,
    model                TEXT,
    strategy             INTEGER NOT NULL,
    sensitivity          INTEGER NOT NULL,
    prompt_tokens        INTEGER NOT NULL,
    cached_tokens        INTEGER NOT NULL,
    cache_write_tokens   INTEGER NOT NULL,
    output_tokens        INTEGER NOT NULL,
    reasoning_tokens     INTEGER NOT NULL,
    queued_micros        INTEGER NOT NULL,
    first_token_micros   INTEGER,
    total_micros         INTEGER NOT NULL,
    bytes_out            INTEGER NOT NULL,
    bytes_in             INTEGER NOT NULL,
    cost_micros          INTEGER NOT NULL,
    cost_currency        TEXT    NOT NULL,
    outcome              INTEGER NOT NULL,
    code                 TEXT,
    message              TEXT,
    detail               BLOB    NOT NULL
) STRICT;

-- Where a receipt is. Not an index of the table above, which would cost every receipt a page: the newest receipts, those
-- after `folded.receipts`, are not in it yet and are looked up one by one.
CREATE TABLE receipt_ids (
    id  BLOB    PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
