-- Certificates of tenants' own hostnames, and the orders for them at certificate authorities.

-- How a hostname gets its certificate: automatic (the configured authorities in their order, else the internal one),
-- internal, or uploaded.
alter table domain add column tls text not null default 'automatic';

create table domain_certificate (
    domain_id       uuid primary key,
    organization_id uuid not null,
    id              uuid not null unique,
    issuer          text not null check (issuer in ('acme', 'internal', 'uploaded')),
    authority       text,                   -- by ACME: what the configuration calls who issued it
    chain_pem       text not null,
    key_sealed      bytea not null,
    key_wrapped     bytea not null,
    key_version     bigint not null,
    not_before      timestamptz not null,
    not_after       timestamptz not null,
    renew_at        timestamptz,            -- a newer one is wanted since then; null: never by itself
    window_due_at   timestamptz,            -- its authority is asked then when it wants to renew it (RFC 9773)
    created_at      timestamptz not null default now(),
    foreign key (organization_id, domain_id) references domain (organization_id, id) on delete cascade
);
create index domain_certificate_organization on domain_certificate (organization_id, domain_id);
create index domain_certificate_renewal on domain_certificate (renew_at) where renew_at is not null;
create index domain_certificate_window on domain_certificate (window_due_at) where window_due_at is not null;

-- One at a time of each hostname. It stays with what went wrong until a certificate has come.
create table certificate_order (
    domain_id         uuid primary key,
    organization_id   uuid not null,
    version           bigint not null default 1,    -- rises with every claim and every step
    step              text not null default 'waiting'
        check (step in ('waiting', 'published', 'validating', 'finalizing')),
    step_at           timestamptz not null default now(),
    due_at            timestamptz not null default now(),
    failures          integer not null default 0,   -- in a row
    authority         text,                         -- where the order is, from its placing on
    url               text,
    token             text,
    key_authorization text,
    key_sealed        bytea,                        -- of the certificate, from the request for it on
    key_wrapped       bytea,
    problem_code      text,
    problem_message   text,
    created_at        timestamptz not null default now(),
    foreign key (organization_id, domain_id) references domain (organization_id, id) on delete cascade
);
create index certificate_order_organization on certificate_order (organization_id, domain_id);
create index certificate_order_due on certificate_order (due_at);

do $$
declare
    name text;
begin
    foreach name in array array['domain_certificate', 'certificate_order'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy tenant on %I using (organization_id = nullif(current_setting(''app.organization_id'', true), '''')::uuid)
             with check (organization_id = nullif(current_setting(''app.organization_id'', true), '''')::uuid)', name);
    end loop;
end
$$;
grant select, insert, update, delete on domain_certificate, certificate_order to railhead_system;
-- No key leaves by this role.
grant select (domain_id, organization_id, id, issuer, authority, chain_pem, key_version, not_before, not_after, renew_at),
    insert, update on domain_certificate to railhead_app;
grant select (domain_id, organization_id, step, due_at, failures, authority, problem_code, problem_message),
    delete on certificate_order to railhead_app;

-- The platform at each authority: its account, and how many orders it may place now.
create table acme_account (
    directory   text primary key,           -- URL
    sealed      bytea not null,             -- its key and address
    wrapped     bytea not null,
    budget      double precision not null,
    budget_at   timestamptz not null default now(),
    paused_until timestamptz,               -- the authority has said that it is too much
    created_at  timestamptz not null default now()
);
grant select, insert, update, delete on acme_account to railhead_system;
