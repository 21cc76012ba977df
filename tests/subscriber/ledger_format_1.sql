-- What a ledger of format 1 looked like, with one tree in it.
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
    incomplete TEXT NOT NULL DEFAULT '[]'
);
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
    PRIMARY KEY (tree, path)
);
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, scope TEXT NOT NULL, serial INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, finished_ms INTEGER, outcome TEXT,
    files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,
    lag_ms INTEGER, exit_code INTEGER, reason TEXT
);
CREATE INDEX jobs_by_tree ON jobs (tree, job);

INSERT INTO trees (tree, identity, shape, generation, epoch, announced, digest, applied, entries, last_full_sync_ms)
    VALUES ('debian', 't1.example.org rsync://127.0.0.1/debian/ /srv/debian', '', 1, '1700000000000-0123456789abcdef', 6,
            '0000000000000000000000000000000000000000000000000000000000000006', 5, 100, 1790000000000);
INSERT INTO pending (tree, serial, at_ms, received_ms, paths, changes, root_mtime_ns)
    VALUES ('debian', 6, 1790000000000, 1790000000000, 1, CAST('{"changed":["new"],"deleted":[],"directories":[]}' AS BLOB), NULL);
INSERT INTO deletions (tree, path, serial, due_ms) VALUES ('debian', CAST('old' AS BLOB), 5, 1790000000000);
INSERT INTO jobs (tree, scope, serial, started_ms, finished_ms, outcome)
    VALUES ('debian', 'list', 5, 1790000000000, 1790000000000, 'done');
PRAGMA user_version = 1;
