-- The whole model of DESIGN §4. Three kinds of columns, each with one writer:
-- intent (the API), plan (scheduler and deployment machine), observation (node reports).
-- Tables are singular. Every tenant table carries organization_id, forced row-level security and
-- an index that leads with it. Roles are made by the operator (or ./dev): railhead_owner,
-- railhead_system (BYPASSRLS), railhead_app (neither owner nor BYPASSRLS).

-- ---------------------------------------------------------------- platform

create table platform (
    singleton        boolean primary key default true check (singleton),
    epoch            bigint not null default 1,
    system_identifier text,
    timeline         integer,
    -- Seconds in which some replica could store a report; a node is late only by these.
    listening_since  timestamptz not null default now(),
    listened_at      timestamptz not null default now(),
    -- Raised when a node shows a position that this database does not have.
    shown_epoch      bigint,
    shown_generation bigint,
    shown_feed       text,
    created_at       timestamptz not null default now()
);
insert into platform default values;

-- Keys that all replicas share, sealed under the operator's key-encryption key.
create table platform_key (
    name       text not null,               -- ca | feed | registry
    version    integer not null,
    public_pem text not null,
    ciphertext bytea not null,
    wrapped_key bytea not null,
    created_at timestamptz not null default now(),
    retired_at timestamptz,
    primary key (name, version)
);

create table region (
    id         uuid primary key,
    name       text not null unique,
    enabled    boolean not null default true,
    version    bigint not null default 1,
    created_at timestamptz not null default now()
);

create table node (
    id           uuid primary key,
    region_id    uuid not null references region,
    role         text not null check (role in ('agent', 'edge')),
    name         text not null,
    -- intent
    schedulable  boolean not null default true,
    draining     boolean not null default false,
    denied_at    timestamptz,
    version      bigint not null default 1,
    -- plan
    reserved_cpu_millis   bigint not null default 0,
    reserved_memory_bytes bigint not null default 0,
    revision     bigint not null default 0,
    -- identity
    certificate_serial text,
    certificate_not_after timestamptz,
    public_key   bytea not null,
    created_at   timestamptz not null default now(),
    unique (region_id, role, name)
);

create table node_status (
    node_id        uuid primary key references node on delete cascade,
    boot_id        text not null,
    -- A report of the process before this one comes too late.
    previous_boot_id text,
    sequence       bigint not null,
    protocol       integer not null,
    binary_version text not null,
    -- Offered to workloads (agents).
    cpu_millis     bigint not null default 0,
    memory_bytes   bigint not null default 0,
    used_cpu_millis bigint not null default 0,
    used_memory_bytes bigint not null default 0,
    -- host:port of the agent's API, or of the edge's forward listener and public address.
    address        text,
    public_address text,
    reported_at    timestamptz not null,
    late_since     timestamptz
);

-- The newest commit that a node has applied of each feed it follows.
create table node_feed (
    node_id    uuid not null references node on delete cascade,
    feed       text not null,
    epoch      bigint not null,
    generation bigint not null,
    digest     text not null,
    held_drops bigint not null default 0,
    -- Up to here an operator lets the node apply drops that its brake holds.
    released_epoch bigint,
    released_generation bigint,
    applied_at timestamptz not null default now(),
    primary key (node_id, feed)
);

create table join_token (
    id          uuid primary key,
    region_id   uuid not null references region,
    role        text not null check (role in ('agent', 'edge')),
    secret_hash bytea not null,
    expires_at  timestamptz not null,
    used_at     timestamptz,
    node_id     uuid references node,
    created_by  uuid,
    created_at  timestamptz not null default now()
);

-- ---------------------------------------------------------------- people and access

create table "user" (
    id                uuid primary key,
    email             text not null,
    name              text not null,
    password_hash     text,                 -- Argon2id, PHC string; null when another identity provider signs in
    is_platform_admin boolean not null default false,
    disabled_at       timestamptz,
    version           bigint not null default 1,
    created_at        timestamptz not null default now()
);
create unique index user_email on "user" (lower(email));

create table session (
    id         uuid primary key,
    user_id    uuid not null references "user" on delete cascade,
    token_hash bytea not null unique,       -- SHA-256 of the opaque 256-bit token
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at   timestamptz,
    address    inet,
    user_agent text
);

create table organization (
    id         uuid primary key,
    name       text not null,
    version    bigint not null default 1,
    -- Counters of this organization's streams, bumped under the row's lock.
    event_sequence bigint not null default 0,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);
create unique index organization_name on organization (name) where deleted_at is null;

create table membership (
    organization_id uuid not null references organization on delete cascade,
    user_id         uuid not null references "user" on delete cascade,
    role            text not null check (role in ('owner', 'admin', 'developer', 'viewer')),
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    primary key (organization_id, user_id)
);

create table api_token (
    id              uuid primary key,
    organization_id uuid not null references organization on delete cascade,
    user_id         uuid not null references "user" on delete cascade,
    name            text not null,
    token_hash      bytea not null unique,
    role            text not null check (role in ('owner', 'admin', 'developer', 'viewer')),
    -- May also run the platform, while its user may.
    platform        boolean not null default false,
    expires_at      timestamptz not null,
    revoked_at      timestamptz,
    last_used_at    timestamptz,
    created_at      timestamptz not null default now()
);
create index api_token_organization on api_token (organization_id, created_at);

-- ---------------------------------------------------------------- what tenants ask for

create table project (
    id              uuid primary key,
    organization_id uuid not null references organization,
    name            text not null,
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    deleted_at      timestamptz,
    unique (organization_id, id)
);
create unique index project_name on project (organization_id, name) where deleted_at is null;

create table environment (
    id              uuid primary key,
    organization_id uuid not null,
    project_id      uuid not null,
    name            text not null,
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    deleted_at      timestamptz,
    unique (organization_id, id),
    foreign key (organization_id, project_id) references project (organization_id, id)
);
create unique index environment_name on environment (organization_id, project_id, name) where deleted_at is null;

create table service (
    id              uuid primary key,
    organization_id uuid not null,
    environment_id  uuid not null,
    name            text not null,
    -- intent
    spec            jsonb not null,
    -- false after `down`: nothing shall run until the next deployment.
    active          boolean not null default false,
    version         bigint not null default 1,
    -- plan: what the placement reconciler works towards, and what still serves meanwhile
    current_deployment_id uuid,             -- newest live one
    target_deployment_id  uuid,             -- in flight
    routed_deployment_id  uuid,             -- whose instances edges shall use
    down_deployment_id    uuid,             -- was taken down: stays the current one, but does not run
    created_at      timestamptz not null default now(),
    deleted_at      timestamptz,
    unique (organization_id, id),
    foreign key (organization_id, environment_id) references environment (organization_id, id)
);
create unique index service_name on service (organization_id, environment_id, name) where deleted_at is null;

-- A variable belongs to a service, or to an environment (shared) when service_id is null.
create table variable (
    id              uuid primary key,
    organization_id uuid not null,
    environment_id  uuid not null,
    service_id      uuid,
    name            text not null,
    sealed          boolean not null default false,
    value_version   bigint not null default 1,
    ciphertext      bytea not null,         -- AES-256-GCM-SIV, associated data organization‖scope‖name‖version
    wrapped_key     bytea not null,         -- data key under the key-encryption key
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    unique (organization_id, id),
    foreign key (organization_id, environment_id) references environment (organization_id, id),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create unique index variable_name on variable
    (organization_id, environment_id, coalesce(service_id, '00000000-0000-0000-0000-000000000000'::uuid), name);

create table deploy_key (
    id              uuid primary key,
    organization_id uuid not null,
    project_id      uuid not null,
    name            text not null,
    public_key      text not null,          -- OpenSSH
    ciphertext      bytea not null,
    wrapped_key     bytea not null,
    created_at      timestamptz not null default now(),
    unique (organization_id, id),
    constraint deploy_key_name unique (organization_id, project_id, name),
    foreign key (organization_id, project_id) references project (organization_id, id)
);

create table archive (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    sha256          text not null,
    size_bytes      bigint not null,
    created_at      timestamptz not null default now(),
    unique (organization_id, id),
    foreign key (organization_id, service_id) references service (organization_id, id)
);

-- Its bytes in pieces, so that neither an upload nor a build holds it in memory; replicas share no disk.
create table archive_chunk (
    organization_id uuid not null,
    archive_id      uuid not null,
    position        integer not null,
    content         bytea not null,
    primary key (organization_id, archive_id, position),
    foreign key (organization_id, archive_id) references archive (organization_id, id) on delete cascade
);

create table domain (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    hostname        text not null,
    kind            text not null check (kind in ('default', 'custom')),
    verified_at     timestamptz,
    checked_at      timestamptz,
    last_error      text,
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    unique (organization_id, id),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create unique index domain_hostname on domain (hostname);
create index domain_service on domain (organization_id, service_id);

create table certificate (
    id          uuid primary key,
    names       text[] not null,
    chain_pem   text not null,
    key_sealed  bytea not null,
    key_wrapped bytea not null,
    key_version bigint not null default 1,
    issuer      text not null,              -- internal | acme | uploaded
    not_after   timestamptz not null,
    last_error  text,
    created_at  timestamptz not null default now()
);

-- ---------------------------------------------------------------- builds, releases, deployments

create table build (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    deployment_id   uuid not null,
    -- intent
    source          jsonb not null,         -- protocol::item::BuildSource
    canceled        boolean not null default false,
    -- plan
    node_id         uuid references node,
    attempt         integer not null default 0,
    -- observation
    state           text not null default 'waiting',
    problem_code    text,
    problem_message text,
    digest          text,
    size_bytes      bigint,
    commit_sha      text,
    commit_title    text,
    commit_author   text,
    started_at      timestamptz,
    finished_at     timestamptz,
    created_at      timestamptz not null default now(),
    unique (organization_id, id),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create index build_service on build (organization_id, service_id, created_at);
create index build_unfinished on build (created_at) where finished_at is null;

create table release (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    number          bigint not null,        -- 1, 2, 3 … per service
    image           text not null,          -- host/repository@sha256:…
    spec            jsonb not null,         -- domain::spec::ServiceSpec, frozen
    variables       jsonb not null,         -- name → sealed value copy or reference (variable id, version), frozen
    content_digest  text not null,
    build_id        uuid,
    commit_sha      text,
    commit_title    text,
    commit_author   text,
    created_at      timestamptz not null default now(),
    unique (organization_id, id),
    unique (organization_id, service_id, number),
    foreign key (organization_id, service_id) references service (organization_id, id)
);

-- Values as they were when a release was made, so that a rollback restores them.
create table release_secret (
    organization_id uuid not null,
    release_id      uuid not null,
    name            text not null,
    value_version   bigint not null,
    ciphertext      bytea not null,
    wrapped_key     bytea not null,
    primary key (organization_id, release_id, name),
    foreign key (organization_id, release_id) references release (organization_id, id) on delete cascade
);

create table deployment (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    number          bigint not null,        -- 1, 2, 3 … per service
    -- intent
    source          jsonb not null,         -- domain::deployment::Source
    spec            jsonb not null,         -- domain::spec::ServiceSpec, frozen
    reason          text not null,          -- deploy | redeploy | rollback
    created_by      uuid,
    cancel_requested boolean not null default false,
    traceparent     text,
    -- plan: the machine of domain::deployment
    state           text not null,
    release_id      uuid,
    step_deadline   timestamptz,
    late_until      timestamptz,            -- enough edges have taken over; late ones have until then
    shift_positions jsonb,                  -- feed → position that edges must acknowledge
    error_code      text,
    error_message   text,
    version         bigint not null default 1,
    -- observation
    requests        bigint not null default 0,
    failed_requests bigint not null default 0,
    created_at      timestamptz not null default now(),
    state_since     timestamptz not null default now(),
    finished_at     timestamptz,
    unique (organization_id, id),
    unique (organization_id, service_id, number),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create index deployment_unfinished on deployment (state_since) where finished_at is null;

-- Values for a build's secret mounts, as they were when it began.
create table build_secret (
    organization_id uuid not null,
    build_id        uuid not null,
    name            text not null,
    ciphertext      bytea not null,
    wrapped_key     bytea not null,
    primary key (organization_id, build_id, name),
    foreign key (organization_id, build_id) references build (organization_id, id) on delete cascade
);

-- What an edge has last counted for a deployment, so that only the difference is added.
create table edge_request_count (
    node_id       uuid not null references node on delete cascade,
    deployment_id uuid not null,
    boot_id       text not null,
    requests      bigint not null,
    failed        bigint not null,
    primary key (node_id, deployment_id)
);

-- When each step was entered: shown to people, and measured.
create table deployment_step (
    organization_id uuid not null,
    deployment_id   uuid not null,
    position        integer not null,
    state           text not null,
    at              timestamptz not null default now(),
    primary key (organization_id, deployment_id, position),
    foreign key (organization_id, deployment_id) references deployment (organization_id, id) on delete cascade
);

-- ---------------------------------------------------------------- placement

create table instance (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    deployment_id   uuid not null,
    release_id      uuid not null,
    node_id         uuid not null references node,
    region_id       uuid not null references region,
    purpose         text not null default 'serve' check (purpose in ('serve', 'release_command')),
    desired         text not null default 'run' check (desired in ('run', 'stop')),
    -- It shall go for this cause: first no edge routes to it, then it is told to stop.
    stop_cause      text,
    unrouted        jsonb,                  -- feed → position since which no route leads to it
    unrouted_at     timestamptz,
    cpu_millis      bigint not null,
    memory_bytes    bigint not null,
    created_at      timestamptz not null default now(),
    stop_requested_at timestamptz,
    stopped_at      timestamptz,            -- its reservation is given back
    unique (organization_id, id),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create index instance_going on instance (node_id) where stop_cause is not null and stopped_at is null;
create index instance_service on instance (organization_id, service_id);
create index instance_node on instance (node_id);
create index instance_deployment on instance (deployment_id);

create table instance_status (
    instance_id     uuid primary key references instance on delete cascade,
    organization_id uuid not null,
    state           smallint not null default 10,
    ready           boolean not null default false,
    restarts        integer not null default 0,
    address         text,
    image_digest    text,
    exit_code       bigint,
    problem_code    text,
    problem_message text,
    cpu_millis      bigint not null default 0,
    memory_bytes    bigint not null default 0,
    received_bytes  bigint not null default 0,
    sent_bytes      bigint not null default 0,
    reported_at     timestamptz not null default now()
);
create index instance_status_organization on instance_status (organization_id);

-- Instances that nodes run on although no document has them (after a restored database).
create table orphan_instance (
    node_id     uuid not null references node on delete cascade,
    instance_id uuid not null,
    service_id  uuid not null,
    seen_at     timestamptz not null default now(),
    primary key (node_id, instance_id)
);
create index orphan_instance_service on orphan_instance (service_id);

create table evaluation (
    id              uuid primary key,
    organization_id uuid not null,
    service_id      uuid not null,
    state           text not null default 'pending' check (state in ('pending', 'running', 'complete', 'blocked')),
    triggers        text[] not null,
    exhausted       jsonb,                  -- per region: what is short, by how much
    claimed_by      uuid,
    claimed_until   timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    foreign key (organization_id, service_id) references service (organization_id, id)
);
create unique index evaluation_pending on evaluation (service_id) where state = 'pending';
create index evaluation_organization on evaluation (organization_id, service_id);

-- ---------------------------------------------------------------- feeds

create table feed (
    name       text primary key,
    generation bigint not null default 0,
    digest     text not null default '',
    buckets    bytea not null default '',   -- the 256 bucket digests behind it
    count      bigint not null default 0,
    -- Deltas from generations below this one are no longer kept: such a reader gets the full document.
    compacted  bigint not null default 0,
    updated_at timestamptz not null default now()
);

create table feed_item (
    feed       text not null references feed on delete cascade,
    id         text not null,
    generation bigint not null,
    bucket     smallint not null,
    json       text not null,               -- rendered once, canonical
    sha256     bytea not null,
    secrets    jsonb not null default '[]', -- protocol::feed::SecretRef; values are resolved when sent
    primary key (feed, id)
);
create index feed_item_service on feed_item (((json::jsonb) ->> 'service_id')) where feed = 'routes/global';
create index feed_item_bucket on feed_item (feed, bucket);
create index feed_item_generation on feed_item (feed, generation);

-- Why an item left; kept 30 days so that a full document can name each cause.
create table feed_tombstone (
    feed       text not null references feed on delete cascade,
    id         text not null,
    generation bigint not null,
    cause      text not null,
    created_at timestamptz not null default now(),
    primary key (feed, id)
);
create index feed_tombstone_generation on feed_tombstone (feed, generation);

-- ---------------------------------------------------------------- events, audit, background work

create table event (
    id              uuid primary key,
    organization_id uuid not null references organization,
    sequence        bigint not null,        -- from organization.event_sequence: commit order, no gaps
    kind            text not null,          -- deployment.live, instance.ready, …
    subject         text not null,          -- dep_…, svc_…
    data            jsonb not null default '{}',
    at              timestamptz not null default now(),
    unique (organization_id, sequence)
);

create table audit_event (
    id              uuid primary key,
    -- The actor's organization, else null for the platform's own log.
    organization_id uuid,
    at              timestamptz not null default now(),
    actor_kind      text not null,          -- user | api_token | system | anonymous
    actor_id        text,
    actor_address   inet,
    action          text not null,          -- service.create, session.create, …
    resource        text,                   -- svc_…
    outcome         text not null check (outcome in ('success', 'failure', 'denied')),
    error_code      text,
    request_id      text not null,
    occurrences     integer not null default 1,
    detail          jsonb not null default '{}'
);
create index audit_event_organization on audit_event (organization_id, at, id);

create table idempotency_key (
    organization_id uuid,
    actor_id        text not null,
    key             text not null,
    request_hash    bytea not null,         -- of method, path and body
    body            bytea,                  -- the answer; null when it held a secret that is shown once
    created_at      timestamptz not null default now(),
    primary key (actor_id, key)
);

create index idempotency_key_organization on idempotency_key (organization_id, created_at);

create table job (
    id           uuid primary key,
    queue        text not null,
    kind         text not null,
    payload      jsonb not null,
    attempt      integer not null default 0,   -- the fencing token of the run in hand
    attempts_max integer not null default 10,
    run_at       timestamptz not null default now(),
    claimed_by   uuid,
    claimed_until timestamptz,
    last_error   text,
    dead_at      timestamptz,
    created_at   timestamptz not null default now()
);
create index job_due on job (run_at) where dead_at is null;

-- Saves work; never needed for safety.
create table lease (
    name       text primary key,
    holder     uuid not null,
    epoch      bigint not null default 1,
    expires_at timestamptz not null
);

-- ---------------------------------------------------------------- row-level security

do $$
declare
    name text;
begin
    foreach name in array array[
        'membership', 'api_token', 'project', 'environment', 'service', 'variable', 'deploy_key', 'archive', 'archive_chunk', 'domain',
        'build', 'build_secret', 'release', 'release_secret', 'deployment', 'deployment_step', 'instance', 'instance_status',
        'evaluation', 'event', 'audit_event', 'idempotency_key']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy tenant on %I using (organization_id = nullif(current_setting(''app.organization_id'', true), '''')::uuid)
             with check (organization_id = nullif(current_setting(''app.organization_id'', true), '''')::uuid)', name);
    end loop;
end
$$;
alter table organization enable row level security;
alter table organization force row level security;
create policy tenant on organization
    using (id = nullif(current_setting('app.organization_id', true), '')::uuid)
    with check (id = nullif(current_setting('app.organization_id', true), '')::uuid);

-- A person is seen by the organizations that the person is a member of.
alter table "user" enable row level security;
alter table "user" force row level security;
create policy member on "user" for select
    using (exists (select 1 from membership where membership.user_id = "user".id));

grant usage on schema public to railhead_app, railhead_system;
grant select, insert, update, delete on all tables in schema public to railhead_system;
grant select, insert, update, delete on
    membership, api_token, project, environment, service, variable, deploy_key, archive, archive_chunk, domain,
    build, build_secret, release, release_secret, deployment, deployment_step, instance, evaluation, organization, idempotency_key
    to railhead_app;
grant select on instance_status, region, node, node_status to railhead_app;
grant select, insert on event, audit_event to railhead_app;
grant insert, select on job to railhead_app;
grant select (id, email, name) on "user" to railhead_app;
-- The audit log is append-only for everybody but its owner.
revoke update, delete, truncate on audit_event from railhead_system, railhead_app;
