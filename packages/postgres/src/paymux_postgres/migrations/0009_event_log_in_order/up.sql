-- The whole log in one order, that of (epoch, xid, id): ids commit out of order, and a transaction id is final once no
-- older transaction runs. Readers take only what lies below the oldest one (pg_snapshot_xmin).

-- A logical restore starts the transaction ids anew. The runner notices by the cluster's identifier, and moves the default
-- of `epoch`: rows that were restored keep theirs.
create table event_epochs (
    epoch smallint primary key check (epoch >= 1),
    system_identifier bigint not null,
    since timestamptz not null
);

alter table payment_events add column epoch smallint not null default 1;
-- Rows are never moved, so that a few bytes per hundred pages find a range; a tree would cost each confirm three entries.
create index payment_events_xid on payment_events using brin ((xid::text::bigint)) with (pages_per_range = 16, autosummarize = on);

-- What is told of a merchant and belongs to no payment: an endpoint that was disabled, an account in trouble, an operator's
-- answer about a webhook. Those that are not public are for the audit only.
create table merchant_events (
    merchant_id uuid not null references merchants (id),
    id uuid not null,
    type text not null check (type <> ''),
    -- The object it speaks of, by its public id.
    subject text,
    public boolean not null,
    livemode boolean not null,
    actor text not null check (actor <> ''),
    reason text not null check (reason <> ''),
    request_id text,
    -- The object as it then was, packed (bodies.pack_body).
    body bytea not null,
    recorded_at timestamptz not null,
    epoch smallint not null default 1,
    xid xid8 not null default pg_current_xact_id(),
    primary key (merchant_id, id)
);
create index merchant_events_xid on merchant_events using brin ((xid::text::bigint)) with (pages_per_range = 16, autosummarize = on);
create trigger merchant_events_append_only before update or delete on merchant_events
    for each statement execute function refuse_change('events are append-only');
create trigger merchant_events_not_truncated before truncate on merchant_events
    for each statement execute function refuse_change('events are append-only');

-- Nobody chooses the place of an event in the order.
revoke insert on payment_events from paymux_app;
grant insert (merchant_id, payment_id, position, sequence, type, from_status, to_status, attempt_number, actor, reason,
    request_id, body, recorded_at) on payment_events to paymux_app;
grant insert (merchant_id, id, type, subject, public, livemode, actor, reason, request_id, body, recorded_at)
    on merchant_events to paymux_app;
grant select on merchant_events, event_epochs to paymux_app;
