-- no-transaction
-- As feed_item_of_platform, without the certificates of tenants' hostnames: there are as many as hostnames.
create index concurrently feed_item_of_platform_alone on feed_item (feed, id)
    where id not like 'service/%' and id not like 'hostname/%'
        and id not like 'instance/%' and id not like 'build/%' and id not like 'domain_certificate/%';
