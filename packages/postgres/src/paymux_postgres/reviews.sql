-- find_review --
-- Read one review of a merchant in a mode: that of its payment or account; a webhook's may belong to either.
select r.* from reviews r
left join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id
left join gateway_accounts a on a.merchant_id = r.merchant_id and a.id = r.gateway_account_id
where r.merchant_id = $1 and r.id = $2 and coalesce(p.livemode, a.livemode, $3) = $3

-- list_reviews --
-- Walk a merchant's reviews, newest first, below $3. Locks: none.
select r.* from reviews r
left join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id
left join gateway_accounts a on a.merchant_id = r.merchant_id and a.id = r.gateway_account_id
where r.merchant_id = $1 and coalesce(p.livemode, a.livemode, $2) = $2 and r.id < $3
  and ($4::text is null or r.status = $4)
  and ($5::text is null or r.reason = $5)
  and ($6::uuid is null or r.payment_id = $6)
order by r.id desc
limit $7

-- resolve_review --
-- Write how a review was resolved, once; nothing if somebody was faster. Locks: review; its payment is locked before.
update reviews
set status = 'resolved', resolved_at = $3, resolution = $4, evidence = $5, actor = $6, api_key_id = $7
where merchant_id = $1 and id = $2 and status = 'open'
returning id

-- void_late_charges --
-- Close late charges whose cancel the gateway acknowledged. Locks: late charges; their payment is locked before.
update late_charges set status = 'voided', next_check_at = null
where merchant_id = $1 and id = any($2::uuid[]) and status = 'open'
returning id

-- append_events --
-- Tell of a payment what changes nothing else of it, and to whom its merchant wants it told; nothing if it has moved on from
-- version $3. Locks: payment.
with moved as (
    update payments
    set event_position = event_position + cardinality($8::integer[]),
        event_sequence = event_sequence + (select count(sequence) from unnest($9::integer[]) as s (sequence)),
        version = version + 1, updated_at = $4
    where merchant_id = $1 and id = $2 and version = $3
    returning merchant_id, id, livemode
),
events as (
    select m.merchant_id, m.id, m.livemode, e.position, e.sequence, e.type, e.reason, e.body
    from moved m
    cross join unnest($8::integer[], $9::integer[], $10::text[], $11::text[], $12::bytea[])
        as e (position, sequence, type, reason, body)
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select e.merchant_id, e.id, e.position, w.number, 'pending', $4, $4
    from events e cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = e.merchant_id and w.livemode = e.livemode and w.status = 'enabled'
          and (w.event_types is null or e.type = any (w.event_types)) offset 0) w
    where e.sequence is not null
)
insert into payment_events (merchant_id, payment_id, position, sequence, type, attempt_number, actor, reason, request_id,
                            body, recorded_at)
select e.merchant_id, e.id, e.position, e.sequence, e.type, $5, $6, e.reason, $7, e.body, $4
from events e
returning position

-- append_merchant_event --
-- Tell what an operator did about a review that is about no payment. For the audit only: nothing of a payment changed.
insert into merchant_events (merchant_id, id, type, subject, public, livemode, actor, reason, request_id, body, recorded_at)
values ($1, $2, $3, $4, false, $5, $6, $7, $8, $9, $10)
