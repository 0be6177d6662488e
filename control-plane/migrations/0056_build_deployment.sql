-- no-transaction
-- Each deployment that is shown or advanced looks for its newest build.
create index concurrently build_deployment on build (deployment_id, created_at);
