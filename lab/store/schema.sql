-- What the store knows. JSON columns hold the values of package trial as they are; the columns beside them are what is asked for.
CREATE TABLE campaigns (
	id      TEXT PRIMARY KEY,           -- hash of kind, name and request
	name    TEXT NOT NULL,
	kind    TEXT NOT NULL,              -- run, atlas
	request TEXT NOT NULL,              -- JSON: enough to go on
	created TEXT NOT NULL,              -- UTC, RFC 3339
	state   TEXT NOT NULL DEFAULT '',   -- '' until the search is over, then 'over'
	dir     TEXT NOT NULL DEFAULT ''    -- of the bundles, on the host that began it
) STRICT;

-- A session is one lab at work on a campaign: where its trials were done. Counts are the host's memory errors, NULL where it
-- does not count.
CREATE TABLE sessions (
	id                 TEXT PRIMARY KEY, -- random
	campaign           TEXT NOT NULL REFERENCES campaigns ON DELETE CASCADE,
	environment        TEXT NOT NULL,    -- JSON
	started            TEXT NOT NULL,
	ended              TEXT NOT NULL DEFAULT '',
	error              TEXT NOT NULL DEFAULT '',
	corrected_before   INTEGER,
	corrected_after    INTEGER,
	uncorrected_before INTEGER,
	uncorrected_after  INTEGER
) STRICT;
CREATE INDEX sessions_of ON sessions (campaign);

-- Texts of scenarios, by hash: thousands of specs share one.
CREATE TABLE texts (
	hash TEXT PRIMARY KEY,
	text TEXT NOT NULL
) STRICT;

-- What is asked of thousands of trials at once; what is long stands in records.
CREATE TABLE trials (
	id        INTEGER PRIMARY KEY,
	campaign  TEXT NOT NULL REFERENCES campaigns ON DELETE CASCADE,
	spec      TEXT NOT NULL,             -- ID by content
	session   TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
	name      TEXT NOT NULL,             -- of the scenario
	openzfs   TEXT NOT NULL,
	arm       TEXT NOT NULL,
	control   INTEGER NOT NULL,
	number    INTEGER NOT NULL,
	outcome   TEXT NOT NULL,
	signature TEXT NOT NULL,
	text      TEXT NOT NULL,             -- these three as in the result
	reason    TEXT NOT NULL,
	audited   TEXT NOT NULL,             -- what kept the disks from being audited
	started   TEXT NOT NULL,
	seconds   REAL NOT NULL,
	UNIQUE (campaign, spec)
) STRICT;

CREATE TABLE records (
	trial    INTEGER PRIMARY KEY REFERENCES trials ON DELETE CASCADE,
	scenario TEXT NOT NULL REFERENCES texts,
	spec     TEXT NOT NULL,              -- JSON, without the scenario's text
	result   TEXT NOT NULL,              -- JSON, without the events
	events   TEXT NOT NULL               -- JSON
) STRICT;

-- Where the time went: a part of a trial each.
CREATE TABLE spans (
	trial   INTEGER NOT NULL REFERENCES trials ON DELETE CASCADE,
	name    TEXT NOT NULL,               -- fork, workload, judge, ...
	seconds REAL NOT NULL,
	PRIMARY KEY (trial, name)
) STRICT, WITHOUT ROWID;
