-- How answers turned out. No text: `signals` are statistics, whose form only the runtime knows.
CREATE TABLE labels (
    seq      INTEGER PRIMARY KEY,
    receipt  BLOB    NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    family   TEXT    NOT NULL,
    device   TEXT    NOT NULL,
    cloud    TEXT    NOT NULL,
    signals  BLOB    NOT NULL,
    spared   INTEGER,
    currency TEXT,
    outcome  INTEGER NOT NULL,
    source   INTEGER NOT NULL
) STRICT;

CREATE INDEX labels_of_pair ON labels (family, device, cloud, seq);

-- Statistics of answers of the last days, so that what is said of one later becomes a label.
CREATE TABLE remembered (
    seq      INTEGER PRIMARY KEY,
    receipt  BLOB    NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    family   TEXT    NOT NULL,
    device   TEXT    NOT NULL,
    cloud    TEXT    NOT NULL,
    signals  BLOB    NOT NULL,
    spared   INTEGER,
    currency TEXT
) STRICT;
