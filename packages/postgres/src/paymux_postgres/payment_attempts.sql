-- open_attempts --
-- Phase 1 of many confirms: take the payments that still wait, and only for those insert attempt, key and event.
-- `moved` carries its input along: joining it again would compare each with each, as no other join is allowed here.
-- Locks: payments in (merchant_id, id) order, skipping what others hold; whoever is not in the answer runs alone.
with inp as (
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::uuid[],
                         $8::text[], $9::text[], $10::boolean[], $11::bytea[], $12::text[], $13::text[], $14::text[],
                         $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[],
                         $19::timestamptz[], $20::timestamptz[], $21::text[])
        as i (merchant_id, payment_id, idempotency_key, request_hash, success_status, gateway, gateway_account_id,
              payment_method, return_url, off_session, request_digest, connector_version, request_id, routing,
              created_at, charge_window_ends_at, next_check_at, processing_deadline_at, owned_until, expires_at, actor)
),
free as (
    select i.* from inp i
    where not exists (select from idempotency_keys k
                      where k.merchant_id = i.merchant_id and k.idempotency_key = i.idempotency_key)
),
locked as (
    select f.* from free f join payments p on p.merchant_id = f.merchant_id and p.id = f.payment_id
    where p.status = 'requires_confirmation'
    order by p.merchant_id, p.id
    for update of p skip locked
),
moved as (
    update payments p
    set status = 'processing', payment_method = l.payment_method::jsonb,
        born_payment_method = case when p.payment_method is distinct from l.payment_method::jsonb
                                   then coalesce(p.payment_method, 'null') end,
        processing_deadline_at = l.processing_deadline_at, gateway = l.gateway, event_position = p.event_position + 1,
        event_sequence = p.event_sequence + 1, version = p.version + 1, updated_at = l.created_at
    from locked l
    where p.merchant_id = l.merchant_id and p.id = l.payment_id and p.status = 'requires_confirmation'
    returning p.amount, p.currency, p.livemode, p.version, p.event_position, p.event_sequence, l.*
),
opened as (
    insert into payment_attempts (merchant_id, payment_id, number, gateway, gateway_account_id, status, amount, currency,
                                  payment_method, return_url, off_session, request_digest, connector_version, request_id,
                                  routing, charge_window_ends_at, next_check_at, created_at, updated_at)
    select merchant_id, payment_id, 1, gateway, gateway_account_id, 'started', amount, currency, payment_method::jsonb,
           return_url, off_session, request_digest, connector_version, request_id, routing::jsonb, charge_window_ends_at,
           next_check_at, created_at, created_at
    from moved
),
claimed as (
    -- No conflict clause: a clash rolls the batch back, and its items run one by one.
    insert into idempotency_keys (merchant_id, idempotency_key, request_hash, payment_id, attempt_number, success_status,
                                  owned_until, expires_at, created_at)
    select merchant_id, idempotency_key, request_hash, payment_id, 1, success_status, owned_until, expires_at, created_at
    from moved
),
told as (
    -- Without a body: it is rendered from what never changes.
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status,
                                attempt_number, actor, reason, request_id, recorded_at)
    select merchant_id, payment_id, event_position, event_sequence, 'payment.processing', 'requires_confirmation',
           'processing', 1, actor, 'confirmed', request_id, created_at
    from moved
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, m.payment_id, m.event_position, w.number, 'pending', m.created_at, m.created_at
    from moved m cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled'
          and (w.event_types is null or 'payment.processing' = any (w.event_types)) offset 0) w
)
select payment_id from moved

-- lock_payment --
-- Lock one payment and wait for it, so that a single-row run of a batch statement in this transaction finds it free.
select true from payments where merchant_id = $1 and id = $2 for update

-- remember_provider_payment --
-- Commit the gateway's id of a reserved object before the charge is sent. The first id stays; a closed attempt takes none.
update payment_attempts
set provider_payment_id = coalesce(provider_payment_id, $4), updated_at = $5
where merchant_id = $1 and payment_id = $2 and number = $3 and finished_at is null
  and (provider_payment_id is null or provider_payment_id = $4)
returning provider_payment_id

-- claim_due_attempts --
-- Lease attempts whose check is due. Of the longest overdue those go first whose payment's deadline was reached, the oldest
-- deadline first; then the longest overdue. So nothing waits for ever: what is passed over becomes the longest overdue. An
-- attempt that was not looked at since its deadline was due at it, so that it is found among them.
-- What another worker holds is skipped, and so is what claim_suspect leases. Locks: the attempts it leases, no payment.
update payment_attempts a
set lease_token = $2, lease_expires_at = $3, check_count = a.check_count + 1,
    unfinished_checks = least(a.unfinished_checks + 1, 1000)
from (
    select o.merchant_id, o.payment_id, o.number, p.processing_deadline_at
    from (select merchant_id, payment_id, number from payment_attempts
          where next_check_at <= $1 and (lease_expires_at is null or lease_expires_at <= $1)
            and not (lease_token is not null and unfinished_checks >= 2)
            and gateway_account_id <> all ($5::uuid[])
          order by next_check_at
          limit $6) longest
    join payment_attempts o
        on o.merchant_id = longest.merchant_id and o.payment_id = longest.payment_id and o.number = longest.number
    join payments p on p.merchant_id = o.merchant_id and p.id = o.payment_id
    -- Once more, on the row that is locked: another worker may have had it since.
    where o.next_check_at <= $1 and (o.lease_expires_at is null or o.lease_expires_at <= $1)
    order by case when p.processing_deadline_at <= $1 then p.processing_deadline_at end nulls last, o.next_check_at
    limit $4
    for update of o skip locked
) due
where a.merchant_id = due.merchant_id and a.payment_id = due.payment_id and a.number = due.number
returning a.merchant_id, a.payment_id, a.number, a.gateway_account_id, a.check_count, a.unfinished_checks, a.next_check_at,
          due.processing_deadline_at

-- claim_suspect --
-- Lease one due attempt whose last owners were never heard of again: it may be what ended them, or was only beside that.
-- Who was there least often comes first, so that the one that kills does not keep the others waiting.
update payment_attempts a
set lease_token = $2, lease_expires_at = $3, check_count = a.check_count + 1,
    unfinished_checks = least(a.unfinished_checks + 1, 1000)
from (
    select merchant_id, payment_id, number from payment_attempts
    where next_check_at <= $1 and lease_expires_at <= $1 and lease_token is not null and unfinished_checks >= 2
    order by unfinished_checks, next_check_at
    limit 1
    for update skip locked
) due
where a.merchant_id = due.merchant_id and a.payment_id = due.payment_id and a.number = due.number
returning a.merchant_id, a.payment_id, a.number, a.gateway_account_id, a.check_count, a.unfinished_checks, a.next_check_at,
          null::timestamptz as processing_deadline_at

-- claim_attempt --
-- Lease one attempt for what a client wants done at once, unless somebody holds it. It is no check: the worker's pauses do
-- not grow by it.
update payment_attempts a
set lease_token = $5, lease_expires_at = $6
where a.merchant_id = $1 and a.payment_id = $2 and a.number = $3
  and a.status <> 'started' and a.next_check_at is not null
  and (a.lease_expires_at is null or a.lease_expires_at <= $4)
returning a.number

-- note_look --
-- Let a client have the gateway asked, if none did since $5, and nobody is at the attempt: our own call may be running.
-- It takes no lease: however often clients look, the worker's check finds the attempt free. An earlier attempt's look
-- counts too: the limit is the payment's.
update payment_attempts a
set looked_at = $4
where a.merchant_id = $1 and a.payment_id = $2 and a.number = $3
  and a.status <> 'started' and a.next_check_at is not null
  and not exists (select from payment_attempts o
                  where o.merchant_id = a.merchant_id and o.payment_id = a.payment_id and o.looked_at > $5)
  and (a.looked_at is null or a.looked_at <= $5)
  and (a.lease_expires_at is null or a.lease_expires_at <= $4)
returning a.number

-- note_resend --
-- Note that a charge is about to leave once more, under the lease of a check: if its process dies, the next check knows.
-- A stale token updates nothing.
update payment_attempts
set sending_since = $5
where merchant_id = $1 and payment_id = $2 and number = $3 and lease_token = $4 and finished_at is null
returning number

-- renew_lease --
-- Hold on to an attempt whose check takes long, or may be the end of its process: then its check moves first ($6).
-- A stale token updates nothing.
update payment_attempts
set lease_expires_at = $5, next_check_at = case when next_check_at is not null then coalesce($6, next_check_at) end
where merchant_id = $1 and payment_id = $2 and number = $3 and lease_token = $4
returning number

-- release_attempt --
-- Give a lease back; a stale token updates nothing. The check moves to $5 unless somebody else moved it since the claim ($6).
-- Where nobody was asked ($8 is 1) the claim's count is taken back.
update payment_attempts
set check_count = greatest(check_count - $8, 0), lease_token = null, lease_expires_at = null, unfinished_checks = coalesce($7, unfinished_checks),
    next_check_at = case when next_check_at = $6 then $5 else next_check_at end
where merchant_id = $1 and payment_id = $2 and number = $3 and lease_token = $4
returning number

-- open_review --
-- Call a person about a payment that has no open review; to 'deadline' only after it. Locks: payment. Needs no gateway, no
-- account and no outcome. Without a body ($8, which belongs to version $9) the payment could not be read.
with asked as (
    select p.merchant_id, p.id from payments p
    where p.merchant_id = $1 and p.id = $2 and ($9::integer is null or p.version = $9)
      and ($5 <> 'deadline' or (p.finalized_at is null and p.processing_deadline_at <= $6))
      and not exists (select from reviews r where r.merchant_id = p.merchant_id and r.payment_id = p.id and r.status = 'open')
    for update
),
reviewed as (
    insert into reviews (merchant_id, id, payment_id, attempt_number, reason, status, opened_at)
    select a.merchant_id, $3, a.id, $4, $5, 'open', $6 from asked a
    on conflict (merchant_id, payment_id, reason) where status = 'open' do nothing
    returning merchant_id, payment_id
),
moved as (
    update payments p
    set event_position = p.event_position + 1, event_sequence = p.event_sequence + 1, version = p.version + 1,
        updated_at = $6
    from reviewed r
    where p.merchant_id = r.merchant_id and p.id = r.payment_id and ($9::integer is null or p.version = $9)
    returning p.merchant_id, p.id, p.event_position, p.event_sequence, p.livemode
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, attempt_number, actor, reason, body,
                                recorded_at)
    select m.merchant_id, m.id, m.event_position, m.event_sequence, 'payment.needs_review', $4, $7, $5, $8, $6 from moved m
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, m.id, m.event_position, w.number, 'pending', $6, $6
    from moved m cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled'
          and (w.event_types is null or 'payment.needs_review' = any (w.event_types)) offset 0) w
)
select id from moved
