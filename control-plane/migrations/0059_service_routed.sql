-- no-transaction
-- The sweep of routes counts the services that are routed every few seconds.
create index concurrently service_routed on service (id) where routed_deployment_id is not null;
