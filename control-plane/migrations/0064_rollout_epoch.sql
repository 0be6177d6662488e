-- The platform's epoch that a rollout goes by: of what edges acknowledged and counted in another nothing counts.
alter table rollout add column epoch bigint not null default 0;
