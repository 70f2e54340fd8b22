-- One row: which journal belongs to this state of the database, and up to which of its records the tables are. `before` is the
-- journal of the process before, all of whose records are in the tables.
CREATE TABLE journal (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    id     BLOB    NOT NULL,
    before BLOB    NOT NULL,
    folded INTEGER NOT NULL
) STRICT;

INSERT INTO journal VALUES (1, zeroblob(16), zeroblob(16), 0);
