-- confirm_plainly --
-- L1: phase 1 and phase 2 of the product, each as a plain statement about one row, for pgbench. The gateway takes no time.
\set n :n + 1
\set i :client_id + :clients * (:n - 1) + 1
with moved as (
    update payments
    set status = 'processing', payment_method = '{"type":"card","token":"tok_visa_4242"}'::jsonb,
        processing_deadline_at = clock_timestamp() + interval '1 hour', gateway = 'instant',
        event_position = event_position + 1, event_sequence = event_sequence + 1, version = version + 1,
        updated_at = clock_timestamp()
    where merchant_id = :merchant_id::uuid
      and id = ('01900000-0000-7000-8000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid and status = 'requires_confirmation'
    returning merchant_id, id, amount, currency, event_position, event_sequence
),
opened as (
    insert into payment_attempts (merchant_id, payment_id, number, gateway, gateway_account_id, status, amount, currency,
                                  payment_method, off_session, request_digest, connector_version, request_id, routing,
                                  charge_window_ends_at, next_check_at, created_at, updated_at)
    select merchant_id, id, 1, 'instant', :account_id::uuid, 'started', amount, currency,
           '{"type":"card","token":"tok_visa_4242"}'::jsonb, false, sha256(id::text::bytea), '1',
           'req_c7a0a0d0d65d4a6a9bd3cba8', '{"rule_version":1,"reason":"priority"}'::jsonb,
           clock_timestamp() + interval '120 seconds', clock_timestamp() + interval '30 seconds', clock_timestamp(),
           clock_timestamp()
    from moved
),
claimed as (
    insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, attempt_number, success_status,
                                  owned_until, expires_at, created_at)
    select merchant_id, md5(id::text), sha256(id::text::bytea), id, 1, 200, clock_timestamp() + interval '30 seconds',
           clock_timestamp() + interval '7 days', clock_timestamp()
    from moved
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status,
                                attempt_number, actor, reason, request_id, recorded_at)
    select merchant_id, id, event_position, event_sequence, 'payment.processing', 'requires_confirmation', 'processing', 1,
           'api_key:0123456789', 'confirmed', 'req_c7a0a0d0d65d4a6a9bd3cba8', clock_timestamp()
    from moved
)
select id from moved;
with settled as (
    update payment_attempts
    set status = 'succeeded', reason = 'charged', provider_payment_id = 'instant_att_' || payment_id || '_1',
        next_check_at = null, money_requested = true, last_request_at = clock_timestamp(),
        finished_at = clock_timestamp(), updated_at = clock_timestamp()
    where merchant_id = :merchant_id::uuid
      and payment_id = ('01900000-0000-7000-8000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid
      and number = 1 and status = 'started'
    returning merchant_id, payment_id
),
moved as (
    update payments p
    set status = 'succeeded', amount_captured = p.amount, succeeded_attempt = 1, finalized_at = clock_timestamp(),
        event_position = p.event_position + 1, event_sequence = p.event_sequence + 1,
        final_position = p.event_position + 1, version = p.version + 1, updated_at = clock_timestamp()
    from settled s
    where p.merchant_id = s.merchant_id and p.id = s.payment_id and p.status = 'processing'
    returning p.merchant_id, p.id, p.event_position, p.event_sequence, p.finalized_at
),
noted as (
    insert into gateway_interactions (merchant_id, payment_id, id, attempt_number, event_position, verb, method, url,
                                      idempotency_key, request, response, response_sha256, http_status, bytes_sent, outcome,
                                      actor, request_id, sent_at, duration_ms, recorded_at)
    select merchant_id, id, ('01900000-0000-7000-9000-' || lpad(to_hex(:i::bigint), 12, '0'))::uuid, 1, event_position,
           'charge', 'POST', 'instant://gateway/charges', 'att_' || id || '_1-create-1', :request::jsonb, :response::jsonb,
           sha256(id::text::bytea), 200, true, 'captured', 'api_key:0123456789', 'req_c7a0a0d0d65d4a6a9bd3cba8',
           clock_timestamp(), 0, clock_timestamp()
    from moved
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status,
                                attempt_number, actor, reason, request_id, body, recorded_at)
    select merchant_id, id, event_position, event_sequence, 'payment.succeeded', 'processing', 'succeeded', 1,
           'api_key:0123456789', 'charged', 'req_c7a0a0d0d65d4a6a9bd3cba8', :body, clock_timestamp()
    from moved
),
finished as (
    update idempotency_keys k
    set finished_at = m.finalized_at, response_status = k.success_status
    from moved m
    where k.merchant_id = m.merchant_id and k.payment_id = m.id and k.response_status is null
)
select id from moved;

-- find_account --
-- The only gateway account there is.
select id from gateway_accounts

-- count_succeeded --
-- How many confirms are complete.
select count(*) from payments where status = 'succeeded'

-- documents_of_the_api --
-- What the API wrote for one of its payments.
select i.request::text as request, i.response::text as response, e.body::text as body
from payment_events e
join gateway_interactions i on i.merchant_id = e.merchant_id and i.payment_id = e.payment_id
where e.type = 'payment.succeeded'
limit 1
