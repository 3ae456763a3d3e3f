-- What authors have taken back, and whom it is still to be told; what is kept here for its own sake; and whether this node
-- goes. Only the index knows this: a snapshot of it holds these tables. Times are on this node's own clock.

-- They outlast their tesserae: so long nobody brings these back.
CREATE TABLE retractions (
    tessera BLOB PRIMARY KEY,
    author  BLOB NOT NULL,
    purse   BLOB NOT NULL,    -- with whose others it is counted: the author's, or zeros for those of all strangers
    signed  BLOB NOT NULL,    -- as its author has signed it
    at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX retractions_purse ON retractions (purse);

-- Nodes that are to drop what an author of this node has taken back, and have not said yet that they did.
CREATE TABLE retraction_due (
    tessera BLOB NOT NULL,
    node    BLOB NOT NULL,
    PRIMARY KEY (tessera, node)
) WITHOUT ROWID;

-- Somebody else's tesserae that this node keeps whole, and looks after.
CREATE TABLE adopted (
    tessera BLOB PRIMARY KEY,
    at      INTEGER NOT NULL
) WITHOUT ROWID;

-- One row while this node hands over what it keeps for others.
CREATE TABLE leaving (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
);
