-- `shifting` now lasts until edges have taken the routes over, `draining` until the old instances have
-- ended. A deployment that was draining in the old sense had not been adopted: it shifts again. Row-level
-- security is forced on the owner too and would hide every row from it.

alter table deployment no force row level security;
update deployment set state = 'shifting' where state = 'draining';
alter table deployment force row level security;

alter table deployment drop column late_until;
