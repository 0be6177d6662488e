-- A release says where its image came from: the branch of its commit; or the image that was asked for, and
-- the digest that its tag stood for then.

alter table build
    add column commit_branch text,
    add column source_digest text;          -- of an image that was taken over, in its own registry

alter table release
    add column commit_branch text,
    add column image_reference text,        -- as asked for: registry.example.com/acme/api:1.4
    add column image_source_digest text;
