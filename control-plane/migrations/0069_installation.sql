-- Tells this installation of the platform from every other one, in what it leaves elsewhere: DNS records that say whose
-- they are. A restored database is the same installation.
alter table platform add column installation_id uuid not null default gen_random_uuid();
