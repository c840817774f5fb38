-- make_tables --
-- L0: a fixed schema, written once and never tuned, so that a schema of ours that grows heavier shows.
create table payments (
    id uuid primary key,
    merchant_id uuid,
    amount bigint check (amount > 0),
    currency char(3),
    status text,
    description text,
    metadata jsonb,
    succeeded_attempt_id uuid,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    finalized_at timestamptz
) with (fillfactor = 80);
create index on payments (merchant_id, id);
create table payment_attempts (
    id uuid primary key,
    payment_id uuid,
    seq smallint,
    connector text,
    status text,
    amount bigint,
    currency char(3),
    connector_ref text,
    error_code text,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
) with (fillfactor = 80);
create index on payment_attempts (payment_id);
create table idempotency_keys (
    merchant_id uuid,
    key text,
    request_hash bytea,
    payment_id uuid,
    response_status smallint,
    response text,
    created_at timestamptz default now(),
    primary key (merchant_id, key)
) with (fillfactor = 60);
create table provider_interactions (
    id bigint generated always as identity primary key,
    payment_id uuid,
    attempt_id uuid,
    kind text,
    request jsonb,
    response jsonb,
    http_status smallint,
    latency_ms integer,
    created_at timestamptz default now()
);
create index on provider_interactions (payment_id);
create table outbox (
    id bigint generated always as identity primary key,
    merchant_id uuid,
    payment_id uuid,
    type text,
    payload jsonb,
    created_at timestamptz default now()
);

-- load_payments --
-- Payments that wait for their confirm; their ids are a counter in hex.
insert into payments (id, merchant_id, amount, currency, status, description, metadata)
select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, 1999, 'eur', 'requires_confirmation',
       'Order ' || n || ' of the shop', jsonb_build_object('order', n::text)
from generate_series(1, $2::bigint) n

-- confirm_reference --
-- One confirm: two statements, each its own transaction.
\set n :n + 1
\set i :client_id + :clients * (:n - 1) + 1
with claimed as (
    insert into idempotency_keys (merchant_id, key, request_hash, payment_id)
    values (:merchant_id::uuid, md5(:i::text), sha256(:i::text::bytea),
            ('01900000-0000-7000-8000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid)
    on conflict do nothing
    returning payment_id
),
moved as (
    update payments
    set status = 'processing', updated_at = now()
    where id = ('01900000-0000-7000-8000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid
      and merchant_id = :merchant_id::uuid and status = 'requires_confirmation' and exists (select from claimed)
    returning id, amount, currency
),
opened as (
    insert into payment_attempts (id, payment_id, seq, connector, status, amount, currency)
    select ('01900000-0000-7000-9000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid, id, 1, 'instant', 'started', amount, currency
    from moved
)
select id, amount, currency from moved;
with settled as (
    update payment_attempts
    set status = 'succeeded', connector_ref = 'instant_' || :i, updated_at = now()
    where id = ('01900000-0000-7000-9000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid and status = 'started'
    returning id, payment_id
),
moved as (
    update payments p
    set status = 'succeeded', succeeded_attempt_id = s.id, finalized_at = now(), updated_at = now()
    from settled s
    where p.id = s.payment_id and p.status = 'processing'
    returning p.id, p.merchant_id
),
noted as (
    insert into provider_interactions (payment_id, attempt_id, kind, request, response, http_status, latency_ms)
    select payment_id, id, 'charge', :request::jsonb, :response::jsonb, 200, 0 from settled
),
told as (
    insert into outbox (merchant_id, payment_id, type, payload)
    select merchant_id, id, 'payment.succeeded', :payload::jsonb from moved
),
finished as (
    update idempotency_keys
    set response_status = 200, response = :snapshot
    where merchant_id = :merchant_id::uuid and key = md5(:i::text) and exists (select from moved)
)
select id from moved;
