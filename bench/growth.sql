-- find_account --
-- The only gateway account there is.
select id from gateway_accounts

-- list_indexes --
-- Indexes beside the primary keys, to be dropped before and made anew after.
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
from pg_index
where indrelid = any ($1::text[]::regclass[]) and not indisprimary

-- load_payments --
-- Payments that succeeded, as phase 2 leaves them.
insert into payments (merchant_id, id, amount, currency, currency_exponent, status, capture_method, livemode, reference,
                      description, payment_method, metadata, amount_captured, gateway, succeeded_attempt,
                      processing_deadline_at, event_position, event_sequence, final_position, version, created_at,
                      updated_at, finalized_at)
select $1, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1999, 'eur', 2, 'succeeded', 'automatic', false,
       'old-order-' || n, 'An order of the shop', '{"type":"card","token":"tok_visa_4242"}', '{"order":"1"}', 1999,
       'instant', 1, $4::timestamptz + interval '1 hour', 3, 3, 3, 3, $4, $4, $4
from generate_series($2::bigint, $3::bigint) n

-- load_payment_attempts --
-- Their attempts.
insert into payment_attempts (merchant_id, payment_id, number, gateway, gateway_account_id, status, reason, amount, currency,
                              payment_method, request_digest, connector_version, provider_payment_id, request_id, routing,
                              money_requested, last_request_at, charge_window_ends_at, created_at, updated_at, finished_at)
select $1, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, 'instant', $5, 'succeeded', 'charged', 1999,
       'eur', '{"type":"card","token":"tok_visa_4242"}', sha256(n::text::bytea), '1', 'instant_att_' || n,
       'req_' || substr(md5(n::text), 1, 24), '{"rule_version":1,"reason":"priority"}', true, $4,
       $4::timestamptz + interval '120 seconds', $4, $4, $4
from generate_series($2::bigint, $3::bigint) n

-- load_payment_events --
-- Their three events; the last with its body.
insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, attempt_number, actor,
                            reason, request_id, body, recorded_at)
select $1, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, e.position, e.position, e.type,
       e.from_status, e.to_status, e.attempt_number, 'api_key:0123456789', 'loaded', 'req_' || substr(md5(n::text), 1, 24),
       case when e.position = 3 then decode(repeat(md5(n::text), 20), 'hex') end, $4
from generate_series($2::bigint, $3::bigint) n,
     (values (1, 'payment.created', null, 'requires_confirmation', null::smallint),
             (2, 'payment.processing', 'requires_confirmation', 'processing', 1::smallint),
             (3, 'payment.succeeded', 'processing', 'succeeded', 1::smallint))
         as e (position, type, from_status, to_status, attempt_number)

-- load_gateway_interactions --
-- One request each.
insert into gateway_interactions (merchant_id, payment_id, id, attempt_number, event_position, verb, method, url,
                                  idempotency_key, request, response, response_sha256, http_status, bytes_sent, outcome,
                                  provider_payment_id, actor, request_id, sent_at, duration_ms, recorded_at)
select $1, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       ('01900000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, 3, 'charge', 'POST', 'instant://gateway/charges',
       'att_' || n || '-create-1', '{"amount":1999,"capture":true,"currency":"eur"}',
       '{"id":"instant_1","amount":1999,"status":"succeeded","currency":"eur"}', sha256(n::text::bytea), 200, true,
       'captured', 'instant_att_' || n, 'api_key:0123456789', 'req_' || substr(md5(n::text), 1, 24), $4, 0, $4
from generate_series($2::bigint, $3::bigint) n

-- load_idempotency_keys --
-- Their keys: random, as clients' keys are.
insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, attempt_number, owned_until, finished_at,
                              success_status, response_status, expires_at, created_at)
select $1, md5('old' || n), sha256(n::text::bytea), ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, $4, $4,
       200, 200, $4::timestamptz + interval '7 days', $4
from generate_series($2::bigint, $3::bigint) n
