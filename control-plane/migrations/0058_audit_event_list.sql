-- no-transaction
-- An organization's log is listed by id, newest first: without this the newest of all are read first.
create index concurrently audit_event_list on audit_event (organization_id, id);
