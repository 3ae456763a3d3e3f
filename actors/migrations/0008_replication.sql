-- Who keeps which tessera, as its author or a node that has repaired it has signed; and what this node is doing about it.
-- Only the index knows this: a snapshot of it holds these tables.

CREATE TABLE placements (
    tessera   BLOB NOT NULL,
    layout    BLOB NOT NULL,    -- BLAKE3 of the layout it is for
    version   INTEGER NOT NULL,
    by_author INTEGER NOT NULL, -- 1 when the author has signed it: of two of one version that one counts
    signed    BLOB NOT NULL,
    PRIMARY KEY (tessera, layout)
) WITHOUT ROWID;
CREATE TRIGGER placements_go AFTER DELETE ON tesseras BEGIN
    DELETE FROM placements WHERE tessera = OLD.tessera;
END;

-- Times are on this node's own clock.
CREATE TABLE replication_jobs (
    id         INTEGER PRIMARY KEY,
    kind       INTEGER NOT NULL, -- 1 publish, 2 fetch, 3 publish under another layout, 4 repair
    tessera    BLOB NOT NULL,
    state      INTEGER NOT NULL, -- 1 pending, 2 done, 3 done but less safe than asked, 4 failed, 5 given up
    began_at   INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    told       TEXT              -- what came of it, in JSON
);
CREATE INDEX replication_jobs_pending ON replication_jobs (id) WHERE state = 1;
