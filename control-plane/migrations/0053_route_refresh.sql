-- Services whose routes have to be looked at now: a hostname or an instance of theirs changed. All others
-- are looked at in turn. No foreign key: a report that asks must not wait for who holds the service's row,
-- and a request for a service that is gone is taken like any other.

create table route_refresh (
    service_id      uuid primary key,
    organization_id uuid not null,
    requested_at    timestamptz not null default now()
);
create index route_refresh_organization on route_refresh (organization_id);
create index route_refresh_due on route_refresh (requested_at);
alter table route_refresh enable row level security;
alter table route_refresh force row level security;
create policy tenant on route_refresh
    using (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid)
    with check (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid);
grant select, insert, update on route_refresh to railhead_app;
grant select, insert, update, delete on route_refresh to railhead_system;
