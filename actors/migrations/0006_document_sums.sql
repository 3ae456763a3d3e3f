-- What the documents of the tesserae come to that are kept for an account, in bytes: a fragment of a few bytes brings some
-- hundred KiB of them. Triggers keep it right, whichever comes or goes first, a document or what it is kept for.

CREATE TABLE document_sums (
    account BLOB PRIMARY KEY,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO document_sums SELECT h.account, sum(d.len) FROM holdings h JOIN documents d ON d.tessera = h.tessera GROUP BY h.account;

CREATE TRIGGER documents_come AFTER INSERT ON documents BEGIN
    INSERT INTO document_sums SELECT account, NEW.len FROM holdings WHERE tessera = NEW.tessera
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER documents_change AFTER UPDATE OF len ON documents WHEN NEW.len <> OLD.len BEGIN
    UPDATE document_sums SET bytes = bytes + NEW.len - OLD.len
        WHERE account IN (SELECT account FROM holdings WHERE tessera = NEW.tessera);
END;
CREATE TRIGGER documents_go AFTER DELETE ON documents BEGIN
    UPDATE document_sums SET bytes = bytes - OLD.len
        WHERE account IN (SELECT account FROM holdings WHERE tessera = OLD.tessera);
END;
CREATE TRIGGER holdings_come AFTER INSERT ON holdings BEGIN
    INSERT INTO document_sums SELECT NEW.account, sum(len) FROM documents WHERE tessera = NEW.tessera HAVING count(*) > 0
        ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER holdings_go AFTER DELETE ON holdings BEGIN
    UPDATE document_sums SET bytes = bytes - (SELECT coalesce(sum(len), 0) FROM documents WHERE tessera = OLD.tessera)
        WHERE account = OLD.account;
END;
