-- What was found damaged and was not looked up yet: the tesserae that it is of are looked at at once, and not with the next
-- look. Written in the transaction that marks the bytes. What is mended meanwhile may stay: a look too many moves nothing.
CREATE TABLE fresh_damage (
    id       INTEGER PRIMARY KEY,
    checksum BLOB NOT NULL UNIQUE
);
INSERT INTO fresh_damage (checksum) SELECT checksum FROM jobs;
CREATE TRIGGER damage_comes AFTER INSERT ON jobs BEGIN
    INSERT OR IGNORE INTO fresh_damage (checksum) VALUES (NEW.checksum);
END;
