-- no-transaction
-- The platform's own items (edges, agents, certificates, expelled nodes) are looked for every few seconds;
-- a route feed has tenants' items by the hundred thousand beside them.
create index concurrently feed_item_of_platform on feed_item (feed, id)
    where id not like 'service/%' and id not like 'hostname/%'
        and id not like 'instance/%' and id not like 'build/%';
