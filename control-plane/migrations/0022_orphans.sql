-- Orphans are taken back by the item that they run by, or let go by an operator.
alter table orphan_instance
    add column json text,                   -- as its node has it stored
    add column sha256 text,                 -- hexadecimal
    add column reason text,                 -- why it is not taken back, for people
    add column let_go_at timestamptz;

-- When the epoch began: nothing is placed before agents have said what they run.
alter table platform add column epoch_since timestamptz not null default now();
