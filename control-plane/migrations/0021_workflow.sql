-- Workflows: fixed steps, each done until it is done. (step, attempt) and the platform's epoch fence: a
-- replica that was overtaken, or that lives in a database's other history, advances nothing.

create table workflow (
    id              uuid primary key,
    organization_id uuid references organization,   -- null: the platform's own
    kind            text not null,          -- deletion
    subject         text not null,          -- prj_…: what it is about
    name            text not null,          -- of the subject, for people
    -- plan
    state           text not null default 'running' check (state in ('running', 'undoing', 'done', 'undone')),
    step            text not null,
    step_since      timestamptz not null default now(),
    data            jsonb not null default '{}',    -- what steps have found out for later ones
    attempt         integer not null default 0,     -- rises with every claim
    epoch           bigint not null default 0,      -- of the platform, at the newest claim
    claimed_until   timestamptz,
    run_at          timestamptz not null default now(),
    failures        integer not null default 0,     -- of the step, in a row
    waits_on        text,
    last_error      text,
    created_at      timestamptz not null default now(),
    finished_at     timestamptz
);
create unique index workflow_subject on workflow (kind, subject) where finished_at is null;
create index workflow_due on workflow (run_at) where finished_at is null;
create index workflow_organization on workflow (organization_id, id);

alter table workflow enable row level security;
alter table workflow force row level security;
create policy tenant on workflow
    using (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid)
    with check (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid);
grant select, insert, update, delete on workflow to railhead_system;
grant select, insert on workflow to railhead_app;

-- What of tenants is on an agent's node; null until it has said so.
alter table node_status
    add column kept_services uuid[],
    add column kept_environments uuid[];
