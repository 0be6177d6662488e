-- no-transaction
-- What nodes say of the registry is of the builds that ended of late (`store::platform_status`).
create index concurrently build_finished on build (finished_at);
