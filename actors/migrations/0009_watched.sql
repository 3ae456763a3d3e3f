-- When this node looks next at what others keep, what it found, and what of it waits to be mended. Made anew from the
-- placements when an index is. Times are on this node's own clock.

CREATE TABLE watched (
    tessera      BLOB NOT NULL PRIMARY KEY,
    next_at      INTEGER,  -- NULL until that is settled: not all at once
    looked_at    INTEGER,  -- NULL when never
    margin       INTEGER,  -- fragments of the worst stripe beyond those needed; NULL when it does not concern this node
    survives     INTEGER,  -- machines that may be lost; NULL when too much is lost already
    below_since  INTEGER,  -- since when the margin is too small; NULL when it is not
    due_at       INTEGER,  -- when it is this node's turn to mend it; NULL when it never is
    repair_bytes INTEGER NOT NULL DEFAULT 0, -- what mending it moves
    proven_at    INTEGER   -- of the holder whose last proof is longest ago; NULL when this node asks for none
) WITHOUT ROWID;
CREATE INDEX watched_next ON watched (next_at);
CREATE INDEX watched_due ON watched (margin, due_at) WHERE due_at IS NOT NULL;
INSERT INTO watched (tessera) SELECT DISTINCT tessera FROM placements;
CREATE TRIGGER watched_come AFTER INSERT ON placements BEGIN
    INSERT OR IGNORE INTO watched (tessera) VALUES (NEW.tessera);
END;
CREATE TRIGGER watched_go AFTER DELETE ON placements
    WHEN NOT EXISTS (SELECT 1 FROM placements WHERE tessera = OLD.tessera) BEGIN
    DELETE FROM watched WHERE tessera = OLD.tessera;
END;

-- Bytes that repair may move: what is left, and as of when.
CREATE TABLE repair_allowance (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL,
    at    INTEGER NOT NULL
);

-- Holders that had not what they claimed when they were to show it. They are none until they have shown something.
CREATE TABLE doubted (
    tessera BLOB NOT NULL,
    holder  BLOB NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (tessera, holder)
) WITHOUT ROWID;
