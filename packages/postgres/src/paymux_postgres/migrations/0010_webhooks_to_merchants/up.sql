-- Events go out to merchants: where to, what was tried, and what an endpoint's health is.

-- What a confirm joins: rows that only the merchant changes. What every delivery changes is kept apart, below.
create table webhook_endpoints (
    merchant_id uuid not null references merchants (id),
    id uuid not null,
    -- Counts a merchant's endpoints; short, as it stands in the key of each delivery.
    number smallint not null check (number >= 1),
    url text not null check (octet_length(url) between 8 and 8192),
    -- null: all.
    event_types text[] check (cardinality(event_types) between 1 and 50),
    description text,
    metadata jsonb not null default '{}',
    status text not null check (status in ('enabled', 'disabled', 'deleted')),
    disabled_reason text,
    -- Sealed; the one before it signs too until it expires.
    secret bytea,
    previous_secret bytea,
    previous_secret_until timestamptz,
    livemode boolean not null,
    -- Events recorded before this moment may have been told under other filters.
    filters_changed_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (merchant_id, id),
    unique (merchant_id, number),
    constraint endpoints_disabled_has_reason check ((status = 'disabled') = (disabled_reason is not null)),
    constraint endpoints_deleted_has_no_secret check ((status = 'deleted') = (secret is null)),
    constraint endpoints_previous_secret_ends check ((previous_secret is null) = (previous_secret_until is null))
);
create index webhook_endpoints_enabled on webhook_endpoints (merchant_id, livemode) where status = 'enabled';
create trigger endpoints_immutable
    after update of merchant_id, id, number, livemode, created_at on webhook_endpoints for each row
    when (row(old.merchant_id, old.id, old.number, old.livemode, old.created_at)
          is distinct from row(new.merchant_id, new.id, new.number, new.livemode, new.created_at))
    execute function refuse_change('an endpoint keeps its number and its mode');
create trigger endpoints_deleted_for_good after update of status on webhook_endpoints for each row
    when (old.status = 'deleted' and new.status <> 'deleted')
    execute function refuse_change('a deleted endpoint has no secret and stays deleted');
create trigger endpoints_kept before delete on webhook_endpoints
    for each statement execute function refuse_change('endpoints are kept: deliveries name them');
create trigger endpoints_not_truncated before truncate on webhook_endpoints
    for each statement execute function refuse_change('endpoints are kept: deliveries name them');

-- What the deliverer learns of an endpoint, and who delivers to it now.
create table webhook_endpoint_health (
    merchant_id uuid not null,
    endpoint_number smallint not null,
    lease_token uuid,
    lease_expires_at timestamptz,
    consecutive_failures integer not null default 0 check (consecutive_failures >= 0),
    -- The first failure since the last success.
    failing_since timestamptz,
    -- Nothing is tried before this moment; what is due waits and loses no try.
    breaker_open_until timestamptz,
    probe_pause_seconds integer,
    primary key (merchant_id, endpoint_number),
    foreign key (merchant_id, endpoint_number) references webhook_endpoints (merchant_id, number),
    constraint endpoint_health_lease check ((lease_token is null) = (lease_expires_at is null))
) with (fillfactor = 70);

-- One row per event and endpoint, inserted by the statement that inserts the event. An event of a payment is its payment's id
-- and its position; one that belongs to no payment is its own id and 0.
create table webhook_deliveries (
    merchant_id uuid not null,
    event_id uuid not null,
    position integer not null check (position >= 0),
    endpoint_number smallint not null,
    -- Counted when it begins: a receiver that takes its worker down uses its tries up too.
    try_count smallint not null default 0 check (try_count >= 0),
    status text not null check (status in ('pending', 'succeeded', 'dead')),
    next_try_at timestamptz,
    created_at timestamptz not null,
    primary key (merchant_id, event_id, position, endpoint_number),
    -- No foreign keys: every event of a merchant would lock the endpoint's row. The guard below looks, and neither an event
    -- nor an endpoint is ever removed.
    -- Liveness: what is not delivered has its next try.
    constraint deliveries_pending_has_try check ((status = 'pending') = (next_try_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
-- The queue, by endpoint.
create index webhook_deliveries_due on webhook_deliveries (merchant_id, endpoint_number, next_try_at) where next_try_at is not null;
create index webhook_deliveries_dead on webhook_deliveries (merchant_id, endpoint_number, created_at) where status = 'dead';
create trigger deliveries_immutable
    after update of merchant_id, event_id, position, endpoint_number, created_at on webhook_deliveries for each row
    when (row(old.merchant_id, old.event_id, old.position, old.endpoint_number, old.created_at)
          is distinct from row(new.merchant_id, new.event_id, new.position, new.endpoint_number, new.created_at))
    execute function refuse_change('what is delivered to whom is fixed with its event');
-- By row, so that a statement without deliveries, which most are, calls nothing.
create function guard_delivery() returns trigger language plpgsql as $$
begin
    if not exists (select from public.webhook_endpoints where merchant_id = new.merchant_id and number = new.endpoint_number)
       or not (exists (select from public.payment_events where merchant_id = new.merchant_id and payment_id = new.event_id
                         and position = new.position and sequence is not null)
               or new.position = 0
                  and exists (select from public.merchant_events where merchant_id = new.merchant_id and id = new.event_id and public)) then
        raise exception 'delivery of event % %: its merchant has no such public event, or no such endpoint', new.event_id, new.position
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger deliveries_guard after insert on webhook_deliveries for each row execute function guard_delivery();
create trigger deliveries_kept before delete on webhook_deliveries
    for each statement execute function refuse_change('deliveries are kept');
create trigger deliveries_not_truncated before truncate on webhook_deliveries
    for each statement execute function refuse_change('deliveries are kept');

-- What a receiver answered. Old months are dropped as partitions.
create table delivery_tries (
    merchant_id uuid not null,
    id uuid not null,
    event_id uuid not null,
    position integer not null,
    endpoint_number smallint not null,
    http_status smallint,
    duration_ms integer not null check (duration_ms >= 0),
    error text,
    -- At most 2 KiB, without what does not belong into a text.
    response_excerpt text check (octet_length(response_excerpt) <= 8192),
    tried_at timestamptz not null,
    primary key (merchant_id, id),
    constraint tries_answered_or_failed check (http_status is not null or error is not null)
) partition by range (id);
create table delivery_tries_default partition of delivery_tries default;
create index delivery_tries_delivery on delivery_tries (merchant_id, event_id, position, endpoint_number);
-- By row, so that each partition has it too.
create trigger tries_append_only before update or delete on delivery_tries
    for each row execute function refuse_change('tries are append-only');
create trigger tries_not_truncated before truncate on delivery_tries
    for each statement execute function refuse_change('tries are append-only');

-- With which method a payment was born, where a confirm brought another one; 'null' if it was born without. Without it the
-- event of its birth could not be shown as it was.
alter table payments add column born_payment_method jsonb;

grant select on webhook_endpoints, webhook_endpoint_health, webhook_deliveries, delivery_tries to paymux_app;
grant insert on webhook_endpoints, webhook_endpoint_health, webhook_deliveries, delivery_tries to paymux_app;
grant update (url, event_types, description, metadata, status, disabled_reason, secret, previous_secret, previous_secret_until,
    filters_changed_at, updated_at) on webhook_endpoints to paymux_app;
grant update (lease_token, lease_expires_at, consecutive_failures, failing_since, breaker_open_until, probe_pause_seconds)
    on webhook_endpoint_health to paymux_app;
grant update (try_count, status, next_try_at) on webhook_deliveries to paymux_app;
grant update (born_payment_method) on payments to paymux_app;

-- A public event of an enabled endpoint without its delivery. The endpoint has to be a minute older than the event, and so
-- does its last change of filters: a statement that began before sees neither. Asked are the events of payments that were born
-- in the last two days, so that the question stays a range of each merchant's key.
create function inv.event_undelivered(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select e.merchant_id, e.payment_id, 'event ' || e.position || ' (' || e.type || ') has no delivery to endpoint ' || w.number
    from public.webhook_endpoints w
    join public.payments p on p.merchant_id = w.merchant_id and p.livemode = w.livemode
    join public.payment_events e on e.merchant_id = p.merchant_id and e.payment_id = p.id
    where w.status = 'enabled' and e.sequence is not null
      -- An id begins with its birth in milliseconds, so that this is a range of the key.
      and p.id >= (lpad(to_hex((extract(epoch from at - interval '2 days') * 1000)::bigint), 12, '0')
                   || '00000000000000000000')::uuid
      and e.recorded_at > w.filters_changed_at + interval '1 minute'
      and (w.event_types is null or e.type = any (w.event_types))
      and not exists (select from public.webhook_deliveries d
                      where d.merchant_id = e.merchant_id and d.event_id = e.payment_id and d.position = e.position
                        and d.endpoint_number = w.number)
$$;

-- All of them, by name.
create or replace function inv.all_violations(at timestamptz)
returns table (invariant text, merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select 'charge_unaccounted', v.* from inv.charge_unaccounted(at) v
    union all select 'attempt_charged_twice', v.* from inv.attempt_charged_twice(at) v
    union all select 'late_charge_forgotten', v.* from inv.late_charge_forgotten(at) v
    union all select 'answer_unclassified', v.* from inv.answer_unclassified(at) v
    union all select 'status_unproven', v.* from inv.status_unproven(at) v
    union all select 'attempts_holding_twice', v.* from inv.attempts_holding_twice(at) v
    union all select 'history_illegal', v.* from inv.history_illegal(at) v
    union all select 'events_disagree', v.* from inv.events_disagree(at) v
    union all select 'left_alone', v.* from inv.left_alone(at) v
    union all select 'attempt_silent', v.* from inv.attempt_silent(at) v
    union all select 'attempt_too_early', v.* from inv.attempt_too_early(at) v
    union all select 'amounts_disagree', v.* from inv.amounts_disagree(at) v
    union all select 'accepted_otherwise', v.* from inv.accepted_otherwise(at) v
    union all select 'key_unfinished', v.* from inv.key_unfinished(at) v
    union all select 'key_answered_early', v.* from inv.key_answered_early(at) v
    union all select 'lease_stale', v.* from inv.lease_stale(at) v
    union all select 'event_undelivered', v.* from inv.event_undelivered(at) v
$$;
