-- no-transaction
-- A service's releases are listed by id, newest first, however many there are.
create index concurrently release_list on release (service_id, id);
