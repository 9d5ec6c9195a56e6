-- Trials are looked up by what they are of: a report does so for each that it shows.
CREATE INDEX trials_of ON trials (campaign, name, openzfs, arm, number);
