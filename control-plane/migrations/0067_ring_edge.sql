-- What an edge had counted soon after its ring began to serve by the version that it is at. A newer version is compared with
-- how it has fared by this one, and not with what it counted by one that was stopped.
create table ring_edge (
    node_id           uuid primary key references node on delete cascade,
    ring              text not null,
    boot_id           text not null,
    requests          bigint not null,
    failed_requests   bigint not null,
    unrouted_requests bigint not null
);
grant select, insert, update, delete on ring_edge to railhead_system;

-- When that was noted: by what its edges have said since they serve by the version.
alter table ring add column counted_at timestamptz;

-- How it fared by that until its ring's turn came.
alter table rollout_edge
    add column before_requests bigint not null default 0,
    add column before_failed_requests bigint not null default 0,
    add column before_unrouted_requests bigint not null default 0;

-- Nothing is noted yet of what edges had counted: rings whose edges serve begin once more.
-- allow(rows): three rows of the platform's own; a program of before sets it again when its edges have soaked
update ring set soaking_since = null;
