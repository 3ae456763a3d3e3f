-- What shows a flipped bit in rows that had nothing to be held against. Rows of before have no seal until they are written
-- again.

ALTER TABLE segments ADD COLUMN ref_seqs INTEGER NOT NULL DEFAULT 0; -- sum modulo 2^64 of seq of the deposits whose refs
                                                                     -- are in it
ALTER TABLE segments ADD COLUMN seal INTEGER; -- of (id, bytes, live_bytes, min_seq, drop_bytes, drop_seq, sealed, ref_seqs)
ALTER TABLE log ADD COLUMN seal INTEGER;      -- of (segment, position, next_seq, clean)
ALTER TABLE scrub ADD COLUMN began INTEGER NOT NULL DEFAULT 0; -- when verifying that segment was begun
ALTER TABLE scrub ADD COLUMN seal INTEGER;    -- of (segment, position, before, paused_until, index_at, began)
UPDATE segments SET ref_seqs = of.seqs
    FROM (SELECT segment, sum(seq) AS seqs FROM deposits GROUP BY segment) AS of WHERE of.segment = segments.id;
