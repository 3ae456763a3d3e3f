-- A damaged document waits for its repair as a damaged blob does.

ALTER TABLE documents ADD COLUMN suspect_at INTEGER; -- since when its bytes are known to be damaged
CREATE INDEX documents_suspect ON documents (suspect_at) WHERE suspect_at IS NOT NULL;
