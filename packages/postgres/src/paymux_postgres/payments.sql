-- create_payments --
-- Insert new payments with their first event, and the keys they came with; one statement for all creates of a batch.
-- A reference that is held, or a key that exists, drops its input: whoever is not in the answer is told why by a read.
-- `offset 0` keeps the planner from beginning with the endpoints of all merchants; so does it in every such statement.
with inp as (
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::smallint[], $6::text[], $7::boolean[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::boolean[], $14::text[],
                         $15::timestamptz[], $16::text[], $17::text[], $18::text[], $19::bytea[], $20::timestamptz[])
        as i (merchant_id, id, amount, currency, currency_exponent, capture_method, livemode,
              reference, description, customer_reference, payment_method, return_url, off_session, metadata,
              created_at, actor, request_id, idempotency_key, request_hash, expires_at)
),
free as (
    select i.* from inp i
    -- Without a key nothing is equal to it, so its input is free.
    where not exists (select from idempotency_keys k
                      where k.merchant_id = i.merchant_id and k.idempotency_key = i.idempotency_key)
),
born as (
    insert into payments (merchant_id, id, amount, currency, currency_exponent, status, capture_method, livemode,
                          reference, description, customer_reference, payment_method, return_url, off_session, metadata,
                          event_position, event_sequence, version, created_at, updated_at)
    select f.merchant_id, f.id, f.amount, f.currency, f.currency_exponent, 'requires_confirmation', f.capture_method,
           f.livemode, f.reference, f.description, f.customer_reference, f.payment_method::jsonb, f.return_url,
           f.off_session, f.metadata::jsonb, 1, 1, 1, f.created_at, f.created_at
    from free f
    on conflict (merchant_id, reference) where reference_held do nothing
    returning merchant_id, id, livemode, created_at
),
claimed as (
    -- No conflict clause: a clash rolls the batch back, and its items run one by one.
    insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, owned_until, finished_at,
                                  expires_at, created_at)
    select f.merchant_id, f.idempotency_key, f.request_hash, f.id, f.created_at, f.created_at, f.expires_at, f.created_at
    from free f join born b on b.merchant_id = f.merchant_id and b.id = f.id
    where f.idempotency_key is not null
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, to_status, actor, reason, request_id,
                                recorded_at)
    select f.merchant_id, f.id, 1, 1, 'payment.created', 'requires_confirmation', f.actor, 'created', f.request_id,
           f.created_at
    from free f join born b on b.merchant_id = f.merchant_id and b.id = f.id
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select b.merchant_id, b.id, 1, w.number, 'pending', b.created_at, b.created_at
    from born b cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = b.merchant_id and w.livemode = b.livemode and w.status = 'enabled'
          and (w.event_types is null or 'payment.created' = any (w.event_types)) offset 0) w
)
select id from born

-- read_payments --
-- Read the rows of many payments without their attempts: what a confirm has to know before phase 1.
select p.* from unnest($1::uuid[], $2::uuid[]) as i (merchant_id, id)
join payments p on p.merchant_id = i.merchant_id and p.id = i.id

-- load_payments --
-- Read payments with their attempts, late charges and open reviews, all as of one moment.
select p as payment,
       (select array_agg(a order by a.number) from payment_attempts a
        where a.merchant_id = p.merchant_id and a.payment_id = p.id) as attempts,
       (select array_agg(l order by l.id) from late_charges l
        where l.merchant_id = p.merchant_id and l.payment_id = p.id) as late_charges,
       (select array_agg(r order by r.opened_at, r.id) from reviews r
        where r.merchant_id = p.merchant_id and r.payment_id = p.id and r.status = 'open') as reviews
from unnest($1::uuid[], $2::uuid[]) as i (merchant_id, id)
join payments p on p.merchant_id = i.merchant_id and p.id = i.id

-- payment_exists --
-- Say whether a merchant has this payment; another merchant's does not exist.
select true from payments where merchant_id = $1 and id = $2

-- payment_holding_reference --
-- Find the payment that holds a reference.
select id from payments where merchant_id = $1 and reference = $2 and reference_held

-- list_payments --
-- Walk a merchant's payments, newest first, at most $8 rows; the finer filters are applied to what was walked.
-- Locks: none.
with walked as (
    select p.id, p.status, p.gateway, p.metadata from payments p
    where p.merchant_id = $1 and p.livemode = $2 and p.id < $3 and p.id >= $4
      and ($5::text is null or p.reference = $5)
      and ($6::text is null or p.customer_reference = $6)
    order by p.id desc
    limit $8
),
fitting as (
    select w.id from walked w
    where ($7::text is null or w.status = $7) and ($9::text is null or w.gateway = $9)
      and ($10::jsonb is null or w.metadata @> $10::jsonb)
    order by w.id desc
    limit $11
)
select f.id, (select count(*) from walked) as walked, (select min(w.id::text) from walked w) as last_walked from fitting f
union all
select null, (select count(*) from walked), (select min(w.id::text) from walked w)

-- cancel_unconfirmed --
-- Cancel a payment that was never confirmed, with its event and its finished key. Locks: payment.
-- The event comes from the payment's row, so a payment that has moved on changes nothing.
with moved as (
    update payments
    set status = 'canceled', cancellation_reason = $3, event_position = event_position + 1,
        event_sequence = event_sequence + 1, final_position = event_position + 1, version = version + 1,
        updated_at = $4, finalized_at = $4
    where merchant_id = $1 and id = $2 and status = 'requires_confirmation' and version = $5
    returning merchant_id, id, event_position, event_sequence, livemode
),
claimed as (
    insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, owned_until, finished_at,
                                  success_status, response_status, expires_at, created_at)
    select m.merchant_id, $6, $7, m.id, $4, $4, 200, 200, $8, $4 from moved m
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, actor,
                                reason, request_id, body, recorded_at)
    select m.merchant_id, m.id, m.event_position, m.event_sequence, 'payment.canceled', 'requires_confirmation',
           'canceled', $9, $3, $10, $11, $4
    from moved m
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, m.id, m.event_position, w.number, 'pending', $4, $4
    from moved m cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled'
          and (w.event_types is null or 'payment.canceled' = any (w.event_types)) offset 0) w
)
select event_position from moved

-- request_cancellation --
-- Note that the merchant wants a running payment cancelled; the first request counts. Locks: payment.
-- The open attempt's check becomes due, so that the worker fences as soon as it can.
with moved as (
    update payments
    set cancellation_requested_at = coalesce(cancellation_requested_at, $4),
        cancellation_reason = coalesce(cancellation_reason, $3), event_position = event_position + 1,
        version = version + 1, updated_at = $4
    where merchant_id = $1 and id = $2 and status in ('processing', 'requires_action', 'requires_capture')
    returning merchant_id, id, event_position
),
hurried as (
    -- Not a started one: its own call may still be running, and its check comes when that must be over. One that is
    -- overdue moves too: a check that is running now sees by it that there is more to do.
    update payment_attempts a
    set next_check_at = $4, updated_at = $4
    from moved m
    where a.merchant_id = m.merchant_id and a.payment_id = m.id and a.status in ('unknown', 'pending', 'requires_action')
),
claimed as (
    insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, owned_until, finished_at,
                                  success_status, expires_at, created_at)
    select m.merchant_id, $5, $6, m.id, $4, $4, 200, $7, $4 from moved m
),
told as (
    insert into payment_events (merchant_id, payment_id, position, type, actor, reason, request_id, recorded_at)
    select m.merchant_id, m.id, m.event_position, 'payment.cancellation_requested', $8, $3, $9, $4 from moved m
)
select event_position from moved
