-- A machine that was expelled and joins again may have its name back: only one of those that are welcome has it.
-- The index is called as the constraint was, which every version knows as "this name is taken".
alter table node drop constraint node_region_id_role_name_key;
create unique index node_region_id_role_name_key on node (region_id, role, name) where denied_at is null;
