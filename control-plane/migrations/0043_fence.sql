-- A node that an operator has declared dead: what it ran is placed elsewhere at once, also what may never
-- run twice. It is lifted when the node has come back and says that nothing of before runs.
alter table node add column fenced_at timestamptz;
