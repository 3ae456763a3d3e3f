-- What is known of others. Only the index knows this: a snapshot of it holds these tables, but for the sums.
-- Times are on this node's own clock.

CREATE TABLE peers (
    node         BLOB PRIMARY KEY,
    addresses    TEXT NOT NULL,    -- a list in JSON: host:port
    author       BLOB,             -- who it acts for, once it has shown a credential
    allow_bytes  INTEGER,          -- how much may be kept for it; NULL for as much as is said for everybody
    origin       INTEGER NOT NULL, -- 1 configured, 2 joined by an invite, 3 introduced by another peer
    added_at     INTEGER NOT NULL,
    seen_at      INTEGER,
    last_address TEXT,             -- where it was seen last
    wrong_bytes  INTEGER NOT NULL, -- three scores; none of them ever deletes anything
    errors       INTEGER NOT NULL,
    absences     INTEGER NOT NULL,
    name         TEXT              -- what the operator calls it
) WITHOUT ROWID;

CREATE TABLE blocked (
    id     BLOB NOT NULL,
    kind   INTEGER NOT NULL, -- 1 tessera, 2 node
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (id, kind)
) WITHOUT ROWID;

CREATE TABLE invites (
    token       BLOB PRIMARY KEY, -- BLAKE3 of what the invited has
    allow_bytes INTEGER,
    expires_at  INTEGER NOT NULL,
    name        TEXT              -- what whoever takes it will be called
) WITHOUT ROWID;

CREATE TABLE receipts (
    holder   BLOB NOT NULL,
    tessera  BLOB NOT NULL,
    stripe   INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    len      INTEGER NOT NULL,
    author   BLOB NOT NULL,    -- whom it is charged to
    held_at  INTEGER NOT NULL, -- by the holder's clock
    signed   BLOB NOT NULL,    -- the receipt as the holder has signed it
    PRIMARY KEY (holder, tessera, stripe, idx)
) WITHOUT ROWID;

-- What holders say that they have. In this order, as it is asked who has what of a stripe.
CREATE TABLE claims (
    tessera    BLOB NOT NULL,
    stripe     INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    holder     BLOB NOT NULL,
    checksum   BLOB NOT NULL,
    claimed_at INTEGER NOT NULL,
    proven_at  INTEGER,
    PRIMARY KEY (tessera, stripe, idx, holder)
) WITHOUT ROWID;

-- Beside holdings and receipts, what they come to: two nodes compare these. A sum is modulo 2^62, and changes in the
-- transaction that changes what it is of.

CREATE TABLE holding_sums (
    account    BLOB NOT NULL,
    first_byte INTEGER NOT NULL, -- of the tessera id
    sum        INTEGER NOT NULL,
    PRIMARY KEY (account, first_byte)
) WITHOUT ROWID;

CREATE TABLE placed (
    holder    BLOB NOT NULL,
    tessera   BLOB NOT NULL,
    fragments INTEGER NOT NULL, -- that there are receipts for
    digest    BLOB NOT NULL,    -- as in holdings
    PRIMARY KEY (holder, tessera)
) WITHOUT ROWID;
CREATE INDEX placed_tessera ON placed (tessera);

CREATE TABLE placed_sums (
    holder     BLOB NOT NULL,
    first_byte INTEGER NOT NULL,
    sum        INTEGER NOT NULL,
    PRIMARY KEY (holder, first_byte)
) WITHOUT ROWID;

-- What it takes to prove a group of 16 KiB without reading the others. Not kept for bytes of one group; made when it is
-- asked for where it is missing.
CREATE TABLE outboards (
    checksum BLOB PRIMARY KEY,
    chaining BLOB NOT NULL -- the chaining value of each group, 32 bytes each
);
CREATE TRIGGER outboards_go AFTER DELETE ON blobs BEGIN
    DELETE FROM outboards WHERE checksum = OLD.checksum;
END;

CREATE TABLE records (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    notes    INTEGER NOT NULL, -- how many times something was written into these tables
    sums_due INTEGER NOT NULL  -- 1 when the next start is to make these sums anew: SQLite cannot
);
INSERT INTO records VALUES (1, 0, EXISTS (SELECT 1 FROM holdings));
