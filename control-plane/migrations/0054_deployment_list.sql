-- no-transaction
-- A service's deployments are listed by id, newest first, however many there are.
create index concurrently deployment_list on deployment (service_id, id);
