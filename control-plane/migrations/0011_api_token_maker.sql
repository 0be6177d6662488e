-- A token that a token made goes with it.

alter table api_token add column maker_id uuid references api_token on delete set null;
create index api_token_maker on api_token (maker_id) where maker_id is not null;
