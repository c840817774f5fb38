-- find_webhook_account --
-- The account a webhook was sent to, by its id alone, with its secrets still sealed. Locks: none.
select merchant_id, id, gateway, livemode, webhook_secrets from gateway_accounts where id = $1

-- set_webhook_secrets --
-- Put new secrets in the place of the sealed ones that were read ($3), unless somebody else was faster. Locks: the account.
update gateway_accounts set webhook_secrets = $4, updated_at = $5
where merchant_id = $1 and id = $2 and webhook_secrets is not distinct from $3
returning id

-- store_webhooks --
-- Store many webhooks: those whose proof holds once per event, and where the event's id is not signed once per body too; a
-- body that came before claims no id. Refused ones as they are, without work. Locks: keys, in their order.
with inp as (
    select * from unnest($1::integer[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::integer[], $8::bytea[],
                         $9::text[], $10::text[], $11::boolean[], $12::text[], $13::timestamptz[], $14::text[], $15::timestamptz[])
        as i (ord, merchant_id, id, gateway_account_id, gateway, body, body_bytes, body_sha256,
              headers, event_id, event_id_signed, type, event_created_at, refusal, received_at)
),
by_body as (
    insert into inbound_webhook_keys (merchant_id, gateway_account_id, kind, value, webhook_id)
    select merchant_id, gateway_account_id, 'body_sha256', encode(body_sha256, 'hex'), id
    from inp where refusal is null and (event_id is null or not event_id_signed)
    order by merchant_id, gateway_account_id, body_sha256
    on conflict (merchant_id, gateway_account_id, kind, value) do nothing
    returning webhook_id
),
by_id as (
    insert into inbound_webhook_keys (merchant_id, gateway_account_id, kind, value, webhook_id)
    select merchant_id, gateway_account_id, 'event_id', event_id, id
    from inp where refusal is null and event_id is not null
               and (event_id_signed or id in (select webhook_id from by_body))
    order by merchant_id, gateway_account_id, event_id
    on conflict (merchant_id, gateway_account_id, kind, value) do nothing
    returning webhook_id
),
kept as (
    select * from inp
    where refusal is not null or id in (select webhook_id from by_id)
       or (event_id is null and id in (select webhook_id from by_body))
),
raw as (
    insert into inbound_webhooks (merchant_id, id, gateway_account_id, gateway, body, body_bytes, body_sha256, headers, event_id,
                                  event_id_signed, type, event_created_at, refusal, received_at)
    select merchant_id, id, gateway_account_id, gateway, body, body_bytes, body_sha256, headers::jsonb, event_id,
           event_id_signed, type, event_created_at, refusal, received_at
    from kept
),
queued as (
    insert into inbound_webhook_work (merchant_id, webhook_id, gateway_account_id, received_at, status, next_try_at)
    select merchant_id, id, gateway_account_id, received_at, 'pending', received_at from kept where refusal is null
)
select ord from kept

-- count_duplicates --
-- Note that an event came again so many times ($5), at the work on the first one. Locks: that work.
update inbound_webhook_work set duplicates = duplicates + $5
where merchant_id = $1 and webhook_id = coalesce(
    (select webhook_id from inbound_webhook_keys
     where merchant_id = $1 and gateway_account_id = $2 and kind = 'event_id' and value = $3),
    (select webhook_id from inbound_webhook_keys
     where merchant_id = $1 and gateway_account_id = $2 and kind = 'body_sha256' and value = $4))

-- claim_due_webhooks --
-- Lease the webhooks that are due, longest overdue first, and count the try now: one that ends its process counts too. What
-- another worker holds is skipped, and so are accounts that have enough under way. Locks: their work.
with due as (
    select merchant_id, webhook_id from inbound_webhook_work
    where next_try_at <= $1 and (lease_expires_at is null or lease_expires_at <= $1) and gateway_account_id <> all ($5::uuid[])
    order by next_try_at
    limit $4
    for update skip locked
),
leased as (
    update inbound_webhook_work w set lease_token = $2, lease_expires_at = $3, tries = w.tries + 1
    from due where w.merchant_id = due.merchant_id and w.webhook_id = due.webhook_id
    returning w.merchant_id, w.webhook_id, w.gateway_account_id, w.tries, w.received_at
)
select l.merchant_id, l.webhook_id, l.gateway_account_id, l.tries, l.received_at, i.gateway, i.body, i.headers
from leased l join inbound_webhooks i on i.merchant_id = l.merchant_id and i.id = l.webhook_id
order by l.received_at, l.webhook_id

-- finish_webhook --
-- End the work on a webhook, or put it off, and give its lease back; a stale token writes nothing. Locks: its work.
update inbound_webhook_work
set status = $4, result = $5, next_try_at = $6, tries = coalesce($7, tries), payment_id = coalesce($8, payment_id),
    attempt_number = coalesce($9, attempt_number), event_position = coalesce($10, event_position),
    finished_at = case when $4 <> 'pending' then $11::timestamptz end, lease_token = null, lease_expires_at = null
where merchant_id = $1 and webhook_id = $2 and lease_token = $3
returning webhook_id

-- open_webhook_review --
-- Call a person about a webhook that names nothing of ours, and tell it in the merchant's log; nothing if one was called
-- already. Locks: none.
with asked as (
    insert into reviews (merchant_id, id, webhook_id, reason, status, opened_at)
    select $1, $2, $3, $4, 'open', $5
    where not exists (select from reviews where merchant_id = $1 and webhook_id = $3 and reason = $4)
    on conflict (merchant_id, webhook_id, reason) where status = 'open' and webhook_id is not null do nothing
    returning merchant_id, opened_at
),
told as (
    insert into merchant_events (merchant_id, id, type, subject, public, livemode, actor, reason, body, recorded_at)
    select merchant_id, $6, 'webhook.needs_review', $7, false, $8, $9, $4, $10, opened_at from asked
)
select merchant_id from asked

-- attempt_of_reserve --
-- The attempt whose reserve made an object of this account at the gateway. Locks: none.
select a.payment_id, a.number
from gateway_interactions i
join payment_attempts a on a.merchant_id = i.merchant_id and a.payment_id = i.payment_id and a.number = i.attempt_number
where i.merchant_id = $1 and i.provider_payment_id = $2 and i.verb = 'reserve' and a.gateway_account_id = $3
limit 1

-- list_payment_webhooks --
-- What came in about a payment, in the order in which it came. Locks: none.
select w.webhook_id as id, w.gateway_account_id, i.gateway, i.type, i.event_id, w.received_at, i.refusal, w.status, w.result,
       w.tries, w.duplicates, w.payment_id, w.attempt_number, w.event_position, w.finished_at
from inbound_webhook_work w
left join inbound_webhooks i on i.merchant_id = w.merchant_id and i.id = w.webhook_id
where w.merchant_id = $1 and w.payment_id = $2
order by w.received_at, w.webhook_id

-- list_account_webhooks --
-- The newest webhooks of an account, refused ones among them. Locks: none.
select i.id, i.gateway_account_id, i.gateway, i.type, i.event_id, i.received_at, i.refusal, w.status, w.result,
       coalesce(w.tries, 0) as tries, coalesce(w.duplicates, 0) as duplicates, w.payment_id, w.attempt_number, w.event_position,
       w.finished_at
from inbound_webhooks i
left join inbound_webhook_work w on w.merchant_id = i.merchant_id and w.webhook_id = i.id
where i.merchant_id = $1 and i.gateway_account_id = $2
order by i.id desc
limit $3

-- read_webhook_body --
-- The bytes of one webhook as they came. Locks: none.
select body from inbound_webhooks where merchant_id = $1 and id = $2
