-- Payments and keys are updated twice and once in the seconds after their birth, whole pages of them in one batch: the
-- new versions have to fit beside the old ones, or every index of the table is written again.
alter table payments set (fillfactor = 38);
alter table idempotency_keys set (fillfactor = 45);
