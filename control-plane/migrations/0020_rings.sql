-- Rings of edges: a change that the platform makes itself (a new version of rendering) reaches the canary
-- ring first, then one region, then all others. Each ring has feeds of its own.

alter table node add column ring text not null default 'all' check (ring in ('canary', 'region', 'all'));

-- How edges fare, since the start of their process (`boot_id`).
alter table node_status
    add column requests bigint not null default 0,
    add column failed_requests bigint not null default 0,
    add column unrouted_requests bigint not null default 0,
    add column items_refused bigint not null default 0;

create table ring (
    name          text primary key check (name in ('canary', 'region', 'all')),
    -- plan: the version that its feeds are rendered in, and the one that they go back to
    version       integer not null default 1,
    previous      integer not null default 1,
    -- Since then every item is rendered so; its feeds stood here.
    rendered_at   timestamptz,
    positions     jsonb not null default '{}',
    -- Since then all its edges that are not late serve by it.
    soaking_since timestamptz
);
insert into ring (name, rendered_at) values ('canary', now()), ('region', now()), ('all', now());

create table rollout (
    singleton boolean primary key default true check (singleton),
    -- The newest version that a program has begun to bring to the rings.
    version   integer not null default 1,
    state     text not null default 'done' check (state in ('running', 'done', 'stopped')),
    problem   text,
    since     timestamptz not null default now()
);
insert into rollout default values;

-- How an edge fared when its ring's turn came.
create table rollout_edge (
    node_id           uuid primary key references node on delete cascade,
    boot_id           text not null,
    requests          bigint not null,
    failed_requests   bigint not null,
    unrouted_requests bigint not null,
    items_refused     bigint not null
);

drop index feed_item_service;
create index feed_item_service on feed_item (((json::jsonb) ->> 'service_id')) where feed like 'routes/global%';

grant select, insert, update, delete on ring, rollout, rollout_edge to railhead_system;
