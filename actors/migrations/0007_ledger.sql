-- What the receipts come to, by whom they are charged to and who has given them: a ledger is read without reading them.
-- Triggers keep it right.

CREATE TABLE receipt_sums (
    author    BLOB NOT NULL,
    holder    BLOB NOT NULL,
    fragments INTEGER NOT NULL, -- that there are receipts for
    bytes     INTEGER NOT NULL, -- of these
    PRIMARY KEY (author, holder)
) WITHOUT ROWID;
-- One after the other: to group them would take memory for all of them.
INSERT INTO receipt_sums SELECT author, holder, 1, len FROM receipts WHERE true
    ON CONFLICT DO UPDATE SET fragments = fragments + 1, bytes = bytes + excluded.bytes;

CREATE TRIGGER receipts_come AFTER INSERT ON receipts BEGIN
    INSERT INTO receipt_sums VALUES (NEW.author, NEW.holder, 1, NEW.len)
        ON CONFLICT DO UPDATE SET fragments = fragments + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER receipts_change AFTER UPDATE OF author, len ON receipts
    WHEN NEW.author <> OLD.author OR NEW.len <> OLD.len
BEGIN
    INSERT INTO receipt_sums VALUES (NEW.author, NEW.holder, 1, NEW.len)
        ON CONFLICT DO UPDATE SET fragments = fragments + 1, bytes = bytes + excluded.bytes;
    UPDATE receipt_sums SET fragments = fragments - 1, bytes = bytes - OLD.len
        WHERE author = OLD.author AND holder = OLD.holder;
    DELETE FROM receipt_sums WHERE author = OLD.author AND holder = OLD.holder AND fragments = 0;
END;
CREATE TRIGGER receipts_go AFTER DELETE ON receipts BEGIN
    UPDATE receipt_sums SET fragments = fragments - 1, bytes = bytes - OLD.len
        WHERE author = OLD.author AND holder = OLD.holder;
    DELETE FROM receipt_sums WHERE author = OLD.author AND holder = OLD.holder AND fragments = 0;
END;
