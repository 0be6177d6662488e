-- The log store's own database, railhead_logs: lines of instances and builds, dropped by partition
-- when the disk budget is spent. Nothing here is backed up, and the API's role has no way in.

-- Who writes lines. Kept so that a batch sent twice is stored once.
create table log_source (
    id              uuid primary key,       -- of the instance or build
    kind            text not null check (kind in ('instance', 'build')),
    node_id         uuid not null,
    organization_id uuid not null,
    service_id      uuid not null,
    deployment_id   uuid not null,
    region          text not null,
    next_line       bigint not null default 0,
    seen_at         timestamptz not null default now()
);
create index log_source_service on log_source (organization_id, service_id);
create index log_source_seen on log_source (seen_at);

-- By the day of arrival, not by the line's own time: a node's clock may be wrong.
create table log_line (
    day             date not null,
    part            smallint not null,      -- a busy day has more than one
    organization_id uuid not null,
    service_id      uuid not null,
    deployment_id   uuid not null,
    source_id       uuid not null,
    kind            text not null,
    region          text not null,
    line            bigint not null,
    at              timestamptz not null,
    stream          text not null check (stream in ('stdout', 'stderr')),
    dropped         bigint not null,        -- lost just before this line
    text            text not null,
    xid             xid8 not null default pg_current_xact_id()
) partition by range (day, part);
create index log_line_service on log_line (organization_id, service_id, at);
create index log_line_follow on log_line (organization_id, service_id, xid);

create table log_partition (
    name       text primary key,
    day        date not null,
    part       smallint not null,
    created_at timestamptz not null default now(),
    unique (day, part)
);

-- What went with a dropped partition, per service: shown as a gap.
create table log_loss (
    organization_id uuid not null,
    service_id      uuid not null,
    up_to           timestamptz not null,
    lines           bigint not null,
    told_at         timestamptz not null default now()
);
create index log_loss_service on log_loss (organization_id, service_id);
