-- What a ledger of format 2 looked like, with one tree in it that has something left to compare.
CREATE TABLE trees (
    tree TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    shape TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    epoch TEXT, announced INTEGER, digest TEXT,
    applied INTEGER NOT NULL DEFAULT -1,
    entries INTEGER NOT NULL DEFAULT 0,
    last_full_sync_ms INTEGER,
    exact_times INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    hopeless INTEGER NOT NULL DEFAULT 0,
    retry_at_ms INTEGER, missing_since_ms INTEGER,
    reason TEXT, held TEXT,
    incomplete TEXT NOT NULL DEFAULT '[]',
    unannounced_total INTEGER NOT NULL DEFAULT 0, unannounced_last INTEGER,
    full_sync_failures INTEGER NOT NULL DEFAULT 0, full_sync_retry_at_ms INTEGER, full_sync_reason TEXT
);
CREATE TABLE headers (tree TEXT PRIMARY KEY, envelope BLOB NOT NULL);
CREATE TABLE pending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, serial INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    paths INTEGER NOT NULL, changes BLOB, root_mtime_ns INTEGER,
    UNIQUE (tree, serial)
);
CREATE TABLE deletions (
    tree TEXT NOT NULL, path BLOB NOT NULL,
    serial INTEGER NOT NULL, due_ms INTEGER NOT NULL, approved INTEGER NOT NULL DEFAULT 0,
    put_off INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tree, path)
);
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, scope TEXT NOT NULL, serial INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, finished_ms INTEGER, outcome TEXT,
    files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,
    lag_ms INTEGER, exit_code INTEGER, reason TEXT
);
CREATE TABLE rechecks (
    tree TEXT NOT NULL, path BLOB NOT NULL, serial INTEGER NOT NULL, due_serial INTEGER NOT NULL,
    retry_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tree, path)
);
CREATE TABLE kept (
    tree TEXT NOT NULL, serial INTEGER NOT NULL, digest TEXT,
    received_ms INTEGER NOT NULL, envelope BLOB, list_digest TEXT, bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tree, serial)
);
CREATE TABLE kept_lists (
    tree TEXT NOT NULL, digest TEXT NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tree, digest, part)
);
CREATE INDEX jobs_by_tree ON jobs (tree, job);
CREATE INDEX deletions_by_serial ON deletions (tree, serial);
CREATE INDEX deletions_by_time ON deletions (tree, due_ms);
CREATE INDEX approved_deletions ON deletions (tree, due_ms) WHERE approved;
CREATE INDEX kept_beginnings ON kept (tree, serial) WHERE envelope IS NULL;
CREATE INDEX kept_by_list ON kept (tree, list_digest, serial) WHERE list_digest IS NOT NULL;
CREATE INDEX kept_sizes ON kept (tree, serial, received_ms, bytes);

INSERT INTO trees (tree, identity, shape, generation, epoch, announced, digest, applied, entries, last_full_sync_ms)
    VALUES ('debian', 't1.example.org rsync://127.0.0.1/debian/ /srv/debian', '', 1, '1700000000000-0123456789abcdef', 6,
            '0000000000000000000000000000000000000000000000000000000000000006', 5, 100, 1790000000000);
INSERT INTO headers (tree, envelope) VALUES ('debian', CAST('{}' AS BLOB));
INSERT INTO pending (tree, serial, at_ms, received_ms, paths, changes, root_mtime_ns)
    VALUES ('debian', 6, 1790000000000, 1790000000000, 1, CAST('{"changed":["new"],"deleted":[],"directories":[]}' AS BLOB), NULL);
INSERT INTO deletions (tree, path, serial, due_ms, put_off) VALUES ('debian', CAST('old' AS BLOB), 5, 1790000000000, 1);
INSERT INTO rechecks (tree, path, serial, due_serial, retry_at_ms) VALUES ('debian', x'', 2, 3, 0);
PRAGMA user_version = 2;
