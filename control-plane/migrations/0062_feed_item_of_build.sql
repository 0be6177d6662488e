-- no-transaction
-- The builds that feeds have now are looked for at each turn, among a year's builds.
create index concurrently feed_item_of_build on feed_item (id) where id like 'build/%';
