-- From schema 2 to 3: for whom a run is, what is known of the price of a call, and why it was made. Older code leaves the defaults.
-- oldest: 2
ALTER TABLE runs ADD COLUMN "user" TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN priced INTEGER NOT NULL DEFAULT 1;
ALTER TABLE calls ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE reservations ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE reservations ADD COLUMN priced INTEGER NOT NULL DEFAULT 1;
