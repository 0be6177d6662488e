-- Until when rows count as old: follows the database's clock, and no faster than `store::retention` lets it.
alter table platform add column retention_at timestamptz;
