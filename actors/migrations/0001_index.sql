-- The index over the segments. Ids and hashes are 32-byte BLOBs, times integer milliseconds since 1970.
-- A seal is the first 8 bytes of BLAKE3 keyed with the tessera: it tells a row that is not as it was written.
-- Foreign keys are deferred: a batch writes its rows in any order and is checked as a whole.

CREATE TABLE log (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    segment     INTEGER NOT NULL, -- watermark: all records before (segment, position) are in this index
    position    INTEGER NOT NULL,
    next_seq    INTEGER NOT NULL,
    clean       INTEGER NOT NULL  -- 1 after a clean stop
);
INSERT INTO log VALUES (1, 0, 0, 1, 1);

CREATE TABLE segments (
    id          INTEGER PRIMARY KEY,
    bytes       INTEGER NOT NULL, -- up to the end of the last record
    live_bytes  INTEGER NOT NULL, -- of blobs, refs and documents that count
    min_seq     INTEGER NOT NULL, -- smallest sequence number of a ref or document in it
    drop_bytes  INTEGER NOT NULL, -- of drops, commits and forgets: they count as long as what they are about may be found
    drop_seq    INTEGER NOT NULL, -- largest sequence number of these
    sealed      INTEGER NOT NULL, -- 0 active, 1 sealed, 2 drained: everything that counts was copied forward
    written_at  INTEGER NOT NULL,
    verified_at INTEGER           -- when all of it was last read back from the device
);

CREATE TABLE blobs (
    checksum    BLOB PRIMARY KEY,
    segment     INTEGER NOT NULL,
    position    INTEGER NOT NULL, -- of its record
    len         INTEGER NOT NULL,
    refs        INTEGER NOT NULL, -- fragments that have this checksum
    state       INTEGER NOT NULL  -- 0 ok, 1 suspect, 2 missing
) WITHOUT ROWID;

CREATE TABLE tesseras (
    tessera     BLOB PRIMARY KEY,
    session     INTEGER NOT NULL, -- 0, or the session that is still writing it
    holdings    INTEGER NOT NULL, -- accounts that have deposits in it
    received_at INTEGER NOT NULL,
    documents   INTEGER NOT NULL, -- sum modulo 2^64 of the seals of each: of (hash, kind)
    seal        INTEGER NOT NULL  -- of (session, holdings, documents): what seems to belong to a session that has ended
                                  -- is purged, so a flipped bit must show here
) WITHOUT ROWID;

CREATE TABLE documents (
    tessera     BLOB NOT NULL REFERENCES tesseras DEFERRABLE INITIALLY DEFERRED,
    kind        INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    segment     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    len         INTEGER NOT NULL, -- of the record's payload
    PRIMARY KEY (tessera, kind, hash)
) WITHOUT ROWID;

CREATE TABLE fragments (
    tessera     BLOB NOT NULL REFERENCES tesseras DEFERRABLE INITIALLY DEFERRED,
    stripe      INTEGER NOT NULL,
    idx         INTEGER NOT NULL,
    checksum    BLOB NOT NULL,
    deposits    INTEGER NOT NULL, -- accounts that want it
    seal        INTEGER NOT NULL, -- of (stripe, idx, checksum): nothing in the log says which bytes are right for an
                                  -- id, so a flipped bit must show here
    PRIMARY KEY (tessera, stripe, idx)
) WITHOUT ROWID;

CREATE TABLE deposits (
    tessera     BLOB NOT NULL,
    stripe      INTEGER NOT NULL,
    idx         INTEGER NOT NULL,
    account     BLOB NOT NULL,
    segment     INTEGER NOT NULL, -- that holds its ref
    seq         INTEGER NOT NULL, -- of its ref
    PRIMARY KEY (tessera, stripe, idx, account),
    FOREIGN KEY (tessera, stripe, idx) REFERENCES fragments DEFERRABLE INITIALLY DEFERRED
) WITHOUT ROWID;

CREATE TABLE holdings (
    account     BLOB NOT NULL,
    tessera     BLOB NOT NULL REFERENCES tesseras DEFERRABLE INITIALLY DEFERRED,
    fragments   INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    digest      BLOB NOT NULL,    -- sum modulo 2^256 of BLAKE3(stripe, idx, checksum)
    PRIMARY KEY (account, tessera)
) WITHOUT ROWID;
CREATE INDEX holdings_tessera ON holdings (tessera);

CREATE TABLE accounts (
    account     BLOB PRIMARY KEY,
    fragments   INTEGER NOT NULL,
    bytes       INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    checksum    BLOB PRIMARY KEY, -- of the blob to be repaired
    kind        INTEGER NOT NULL, -- 1: repair
    queued_at   INTEGER NOT NULL
) WITHOUT ROWID;
