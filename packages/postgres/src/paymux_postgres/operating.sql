-- oldest_unknown --
-- Age of the oldest attempt of which nobody can tell what became of it; nothing if there is none. Locks: none.
select '' as sample, extract(epoch from $1 - a.created_at) as value
from payment_attempts a
where a.status = 'unknown' and a.next_check_at is not null
order by a.created_at
limit 1

-- checks --
-- Checks that are due, and those of them that have been for five minutes; counted to ten thousand. Locks: none.
select 'due' as sample, count(*) as value
from (select from payment_attempts where next_check_at <= $1 limit 10000) due
union all
select 'overdue', count(*)
from (select from payment_attempts where next_check_at <= $1 - interval '5 minutes' limit 10000) overdue

-- open_reviews --
-- Questions that wait for a person, by their reason. Locks: none.
select reason as sample, count(*) as value from reviews where status = 'open' and $1::timestamptz is not null group by reason

-- schedules_since_success --
-- For each kind of task, how long ago it last succeeded; one that never did, since it was first begun. Locks: none.
select s.kind as sample, extract(epoch from $1 - coalesce(max(s.finished_at), min(s.started_at))) as value
from schedules s
group by s.kind

-- slots_left --
-- Slots that failed as often as they are tried, or whose runner was never heard of again, in the last day. Locks: none.
select s.kind as sample, count(*) as value
from schedules s
where s.finished_at is null and s.lease_expires_at < $1::timestamptz - interval '10 minutes' and s.slot > $1::timestamptz - interval '1 day'
group by s.kind

-- months_ahead --
-- For each table that is partitioned, for how many more days its months are made. Locks: none.
select m.parent as sample, extract(epoch from m.made_until - $1) / 86400 as value from monthly_state() m

-- stray_rows --
-- Whether a table has rows that no month was made for. Locks: none.
select m.parent as sample, m.strays::integer as value from monthly_state() m where $1::timestamptz is not null

-- deliveries --
-- Events on their way to merchants: those that are due, overdue by a minute, and given up; each counted to ten thousand.
-- An endpoint whose breaker is open waits on purpose, and is not overdue. Locks: none.
select 'due' as sample, count(*) as value
from (select from webhook_deliveries where next_try_at <= $1 limit 10000) due
union all
select 'overdue', count(*)
from (select from webhook_deliveries d
      left join webhook_endpoint_health h on h.merchant_id = d.merchant_id and h.endpoint_number = d.endpoint_number
      where d.next_try_at <= $1 - interval '1 minute' and (h.breaker_open_until is null or h.breaker_open_until <= $1)
      limit 10000) overdue
union all
select 'dead', count(*) from (select from webhook_deliveries where status = 'dead' limit 10000) dead

-- breakers_open --
-- Endpoints that are left alone for a while, as they failed too often. Locks: none.
select '' as sample, count(*) as value from webhook_endpoint_health where breaker_open_until > $1

-- webhook_lag --
-- How long the oldest webhook of a gateway that nobody has applied yet has waited. Locks: none.
select '' as sample, extract(epoch from $1 - w.received_at) as value
from inbound_webhook_work w
where w.next_try_at is not null
order by w.received_at
limit 1

-- silent_webhooks --
-- Accounts that have a secret for webhooks, were charged through in the last day, and for as long sent none that was
-- believed. Bounded by the attempts of a day. Locks: none.
select g.id::text as sample, count(*) as value
from gateway_accounts g
join payment_attempts a on a.merchant_id = g.merchant_id and a.gateway_account_id = g.id
where g.webhook_secrets is not null and g.status = 'enabled' and a.money_requested
  and a.payment_id >= $2 and a.created_at < $1::timestamptz - interval '1 hour'
  and not exists (select from inbound_webhooks i
                  where i.merchant_id = g.merchant_id and i.id >= $2 and i.gateway_account_id = g.id and i.refusal is null)
group by g.id
