-- How far scrubbing has come. Only the index knows this; when it is lost, everything is verified again.

CREATE TABLE scrub (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    segment      INTEGER NOT NULL, -- being verified, and verified up to this position; 0 for none
    position     INTEGER NOT NULL,
    before       INTEGER NOT NULL, -- what was last verified before this time was asked to be verified now; 0 for nothing
    paused_until INTEGER NOT NULL, -- 0 for not paused
    index_at     INTEGER NOT NULL  -- when all of this index was last looked through; 0 for never
);
INSERT INTO scrub VALUES (1, 0, 0, 0, 0, 0);
