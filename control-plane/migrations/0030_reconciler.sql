-- How reconcilers fare, whichever replica runs them: for `railhead admin doctor`. Their leases only say who.

create table reconciler (
    name           text primary key,
    holder         uuid not null,               -- the replica that told
    period_seconds bigint not null,             -- it runs at least this often
    succeeded_at   timestamptz,
    failed_at      timestamptz,
    error          text                         -- of the newest turn; null when it went well
);
grant select, insert, update, delete on reconciler to railhead_system;
