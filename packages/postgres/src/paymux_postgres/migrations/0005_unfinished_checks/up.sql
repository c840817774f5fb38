-- What a check needs that may kill its process, and what a client's look needs that is no check.
-- Both change with checks and looks only: a confirm on its happy path writes neither.
alter table payment_attempts
    -- Checks begun since one last came to its end: counted when one is claimed, so that a killed process counts too.
    add column unfinished_checks smallint not null default 0,
    -- When a client last had the gateway asked.
    add column looked_at timestamptz;
grant update (unfinished_checks, looked_at) on payment_attempts to paymux_app;
