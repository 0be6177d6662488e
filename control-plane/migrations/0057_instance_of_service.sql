-- no-transaction
-- Reconcilers ask for a service's instances by the service alone; those that have ended stay for a day.
create index concurrently instance_of_service on instance (service_id);
