-- no-transaction
-- Each evaluation counts the failing instances of all nodes: few, among those that have ended and stay a day.
create index concurrently instance_status_problem on instance_status (instance_id) where problem_code is not null;
