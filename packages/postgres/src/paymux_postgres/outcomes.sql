-- record_outcomes --
-- Phase 2 of many calls, in dependent order: interactions of every input that was locked, then attempt, payment,
-- events and what comes next of those whose payment is still at the version they were decided on, and whose attempt has
-- sent nothing and was refused nothing since; then the keys.
-- Locks: payments in (merchant_id, id) order, skipping what others hold; then attempts, then keys.
with inp as (
    select * from unnest($1::integer[], $2::uuid[], $3::uuid[], $4::integer[], $5::timestamptz[], $6::smallint[],
                         $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[],
                         $13::boolean[], $14::boolean[], $15::smallint[], $16::timestamptz[], $17::timestamptz[],
                         $18::boolean[], $19::text[], $20::text[], $21::text[], $22::text[], $23::bigint[],
                         $24::bigint[], $25::smallint[], $26::timestamptz[], $27::text[], $28::timestamptz[],
                         $29::integer[], $30::integer[], $31::integer[], $32::smallint[], $33::text[], $34::text[],
                         $35::boolean[], $36::smallint[], $37::timestamptz[], $38::timestamptz[], $39::text[])
        as i (ord, merchant_id, payment_id, version, recorded_at, attempt_number,
              attempt_status, reason, provider_payment_id, error, next_check_at, watch_until,
              money_requested, was_requires_action, fence_count, last_request_at, finished_at,
              changes_payment, status, next_action, last_error, gateway, amount_captured,
              amount_capturable, succeeded_attempt, processing_deadline_at, cancellation_reason, finalized_at,
              event_position, event_sequence, final_position, next_attempt_number, actor, request_id,
              money_requested_before, fence_count_before, last_request_at_before, next_check_at_before, error_before)
),
locked as (
    select i.*, p.version = i.version as won, p.event_position as position_before
    from inp i join payments p on p.merchant_id = i.merchant_id and p.id = i.payment_id
    order by p.merchant_id, p.id
    for update of p skip locked
),
noted as (
    insert into gateway_interactions (merchant_id, payment_id, id, attempt_number, event_position, verb, method, url,
                                      idempotency_key, request, response, response_sha256, http_status, bytes_sent,
                                      transport_error, gateway_request_id, outcome, provider_payment_id, actor, request_id,
                                      sent_at, duration_ms, recorded_at)
    select l.merchant_id, l.payment_id, n.id, l.attempt_number,
           case when l.won then l.event_position else l.position_before end, n.verb, n.method, n.url,
           n.idempotency_key, n.request::jsonb, n.response::jsonb, n.response_sha256, n.http_status, n.bytes_sent,
           n.transport_error, n.gateway_request_id, n.outcome, n.provider_payment_id, l.actor, l.request_id, n.sent_at,
           n.duration_ms, l.recorded_at
    from unnest($40::integer[], $41::uuid[], $42::text[], $43::text[], $44::text[], $45::text[], $46::text[],
                $47::text[], $48::bytea[], $49::smallint[], $50::boolean[], $51::text[], $52::text[], $53::text[],
                $54::timestamptz[], $55::integer[], $56::text[])
        as n (ord, id, verb, method, url, idempotency_key, request,
              response, response_sha256, http_status, bytes_sent, transport_error, gateway_request_id, outcome,
              sent_at, duration_ms, provider_payment_id)
    join locked l on l.ord = n.ord
    -- A repeat after a lost answer changes nothing. Asking before would open every month's partition, each time.
    on conflict (merchant_id, payment_id, id) do nothing
),
settled as (
    update payment_attempts a
    set status = l.attempt_status, reason = l.reason,
        provider_payment_id = coalesce(a.provider_payment_id, l.provider_payment_id), error = l.error::jsonb,
        -- What did not move the check leaves it where others may have moved it.
        next_check_at = case when l.next_check_at is not distinct from l.next_check_at_before then a.next_check_at
                             else l.next_check_at end,
        watch_until = l.watch_until, money_requested = l.money_requested,
        was_requires_action = l.was_requires_action, fence_count = l.fence_count, last_request_at = l.last_request_at,
        finished_at = l.finished_at, updated_at = l.recorded_at,
        -- A check holds its lease to its end; what is never checked again needs none.
        lease_token = case when l.next_check_at is not null then a.lease_token end,
        lease_expires_at = case when l.next_check_at is not null then a.lease_expires_at end,
        unfinished_checks = case when l.next_check_at is not null then a.unfinished_checks else 0 end
    from locked l
    where l.won and a.merchant_id = l.merchant_id and a.payment_id = l.payment_id and a.number = l.attempt_number
      -- A re-send or a fence that proved nothing leaves the payment's version alone, but what was decided without
      -- knowing of it is decided again.
      and a.money_requested = l.money_requested_before and a.fence_count = l.fence_count_before
      and a.last_request_at is not distinct from l.last_request_at_before
      and a.error is not distinct from l.error_before::jsonb
    returning l.*
),
moved as (
    update payments p
    set status = l.status, next_action = l.next_action::jsonb, last_error = l.last_error::jsonb, gateway = l.gateway,
        amount_captured = l.amount_captured, amount_capturable = l.amount_capturable,
        succeeded_attempt = l.succeeded_attempt, processing_deadline_at = l.processing_deadline_at,
        cancellation_reason = l.cancellation_reason, finalized_at = l.finalized_at, event_position = l.event_position,
        event_sequence = l.event_sequence, final_position = coalesce(p.final_position, l.final_position), version = p.version + 1,
        updated_at = l.recorded_at
    from settled l
    where l.changes_payment and p.merchant_id = l.merchant_id and p.id = l.payment_id and p.version = l.version
    returning l.ord, l.attempt_number, l.next_attempt_number, l.actor, l.request_id, p.merchant_id, p.id, p.status, p.finalized_at, p.updated_at,
              p.livemode
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status,
                                attempt_number, actor, reason, request_id, body, recorded_at)
    select m.merchant_id, m.id, e.position, e.sequence, e.type, e.from_status, e.to_status,
           m.attempt_number, m.actor, e.reason, m.request_id, e.body, m.updated_at
    from unnest($57::integer[], $58::integer[], $59::integer[], $60::text[], $61::text[], $62::text[], $63::text[],
                $64::bytea[])
        as e (ord, position, sequence, type, from_status, to_status, reason, body)
    join moved m on m.ord = e.ord
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, m.id, e.position, w.number, 'pending', m.updated_at, m.updated_at
    from moved m
    -- Endpoints first: without any, no event is looked at again.
    cross join lateral (
        select w.number, w.event_types from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled' offset 0) w
    join unnest($57::integer[], $58::integer[], $59::integer[], $60::text[]) as e (ord, position, sequence, type) on e.ord = m.ord
    where e.sequence is not null and (w.event_types is null or e.type = any (w.event_types))
),
opened as (
    insert into payment_attempts (merchant_id, payment_id, number, gateway, gateway_account_id, status, amount, currency,
                                  payment_method, return_url, off_session, request_digest, connector_version, request_id,
                                  routing, charge_window_ends_at, next_check_at, created_at, updated_at)
    select m.merchant_id, m.id, o.number, o.gateway, o.gateway_account_id, 'started', o.amount, o.currency,
           o.payment_method, o.return_url, o.off_session, decode(o.request_digest, 'hex'), o.connector_version,
           o.request_id, o.routing, o.charge_window_ends_at, o.next_check_at, m.updated_at, m.updated_at
    from jsonb_to_recordset($65::jsonb)
        as o (ord integer, number smallint, gateway text, gateway_account_id uuid, amount bigint, currency text,
              payment_method jsonb, return_url text, off_session boolean, request_digest text, connector_version text,
              request_id text, routing jsonb, charge_window_ends_at timestamptz, next_check_at timestamptz)
    join moved m on m.ord = o.ord
),
reviewed as (
    insert into reviews (merchant_id, id, payment_id, attempt_number, reason, status, opened_at)
    select m.merchant_id, v.id, m.id, v.attempt_number, v.reason, 'open', m.updated_at
    from jsonb_to_recordset($66::jsonb) as v (ord integer, id uuid, attempt_number smallint, reason text)
    join moved m on m.ord = v.ord
    on conflict (merchant_id, payment_id, reason) where status = 'open' do nothing
),
answered as (
    update reviews r
    set status = 'resolved', resolved_at = m.updated_at, resolution = 'gateway_answered', actor = 'gateway'
    from moved m
    where m.finalized_at is not null and r.merchant_id = m.merchant_id and r.payment_id = m.id and r.is_open
      and array_position($68::text[], r.reason) is not null
),
charged_late as (
    insert into late_charges (merchant_id, id, payment_id, attempt_number, gateway, provider_payment_id, amount, currency,
                              status, policy, next_check_at, created_at)
    select m.merchant_id, c.id, m.id, c.attempt_number, c.gateway, c.provider_payment_id, c.amount, c.currency,
           'open', 'review', c.next_check_at, m.updated_at
    from jsonb_to_recordset($67::jsonb)
        as c (ord integer, id uuid, attempt_number smallint, gateway text, provider_payment_id text, amount bigint,
              currency text, next_check_at timestamptz)
    join moved m on m.ord = c.ord
    on conflict (merchant_id, payment_id, attempt_number, provider_payment_id) do nothing
),
finished as (
    -- A next attempt takes an open key over; otherwise the request is answered now, and finally once the payment is.
    update idempotency_keys k
    set finished_at = case when m.next_attempt_number is null then coalesce(k.finished_at, m.updated_at) end,
        attempt_number = case when k.finished_at is null then coalesce(m.next_attempt_number, k.attempt_number)
                              else k.attempt_number end,
        response_status = case when m.finalized_at is not null then k.success_status end,
        expires_at = case when m.finalized_at is not null then greatest(k.expires_at, m.finalized_at + interval '7 days')
                          else k.expires_at end
    from moved m
    where k.merchant_id = m.merchant_id and k.payment_id = m.id and k.response_status is null and k.success_status is not null
      and (m.next_attempt_number is null or k.finished_at is null)
)
-- Once for who was locked, once more for whose attempt moved, and for whose payment moved: the caller takes the best.
select ord, false as won from locked
union all
select ord, not changes_payment from settled
union all
select ord, true from moved
