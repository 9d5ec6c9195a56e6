-- What labs do now. A lab is found by its process; a row of one that was killed stays until its campaign is removed.
ALTER TABLE sessions ADD COLUMN process TEXT NOT NULL DEFAULT ''; -- as host.Process says it, '' where that is not known

CREATE TABLE underway (
	session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
	spec    TEXT NOT NULL,              -- ID by content
	title   TEXT NOT NULL,
	started TEXT NOT NULL,
	console TEXT NOT NULL DEFAULT '',   -- file of the lab's host, and where in it the trial's part begins
	begins  INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (session, spec)
) STRICT, WITHOUT ROWID;
