-- A hostname is one service's from the moment its DNS says so. Until then it is a claim, and a claim
-- keeps nobody else from claiming the same name.

drop index domain_hostname;
create unique index domain_hostname on domain (hostname) where verified_at is not null;
create unique index domain_claim on domain (organization_id, hostname);
create index domain_waiting on domain (checked_at nulls first, id)
    where kind = 'custom' and verified_at is null;
