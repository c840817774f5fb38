-- lease_endpoints --
-- Take endpoints that have something due, that nobody delivers to and whose breaker lets one through, longest overdue first.
-- A loose scan: one probe of the queue's index per endpoint that waits, however much waits for it.
-- Locks: the health of the endpoints, skipping what others hold.
with recursive waiting as (
    (select d.merchant_id, d.endpoint_number, d.next_try_at from webhook_deliveries d
     where d.next_try_at is not null
     order by d.merchant_id, d.endpoint_number, d.next_try_at
     limit 1)
    union all
    select n.merchant_id, n.endpoint_number, n.next_try_at
    from waiting w cross join lateral (
        select d.merchant_id, d.endpoint_number, d.next_try_at from webhook_deliveries d
        where d.next_try_at is not null and (d.merchant_id, d.endpoint_number) > (w.merchant_id, w.endpoint_number)
        order by d.merchant_id, d.endpoint_number, d.next_try_at
        limit 1) n
),
free as (
    select h.merchant_id, h.endpoint_number
    from waiting w
    join webhook_endpoint_health h on h.merchant_id = w.merchant_id and h.endpoint_number = w.endpoint_number
    where w.next_try_at <= $1 and (h.lease_expires_at is null or h.lease_expires_at <= $1)
      and (h.breaker_open_until is null or h.breaker_open_until <= $1)
    order by w.next_try_at
    limit $4
    for update of h skip locked
)
update webhook_endpoint_health h
set lease_token = $2, lease_expires_at = $3
from free f
where h.merchant_id = f.merchant_id and h.endpoint_number = f.endpoint_number
returning h.merchant_id, h.endpoint_number, h.consecutive_failures, h.failing_since, h.breaker_open_until, h.probe_pause_seconds

-- renew_endpoints --
-- Hold on to endpoints; one whose lease is somebody else's by now is not in the answer. Locks: the health of the endpoints.
update webhook_endpoint_health h
set lease_expires_at = $2
from unnest($3::uuid[], $4::smallint[]) as i (merchant_id, endpoint_number)
where h.merchant_id = i.merchant_id and h.endpoint_number = i.endpoint_number and h.lease_token = $1
returning h.merchant_id, h.endpoint_number

-- release_endpoints --
-- Give endpoints back, so that another worker may take them at once. Locks: the health of the endpoints.
update webhook_endpoint_health h
set lease_token = null, lease_expires_at = null
from unnest($2::uuid[], $3::smallint[]) as i (merchant_id, endpoint_number)
where h.merchant_id = i.merchant_id and h.endpoint_number = i.endpoint_number and h.lease_token = $1
returning h.merchant_id, h.endpoint_number

-- claim_deliveries --
-- Begin tries: for each endpoint that is ours and enabled, what is due longest, as much as it has room for ($6). The try is
-- counted, and moved to $3, so that what a dead worker began comes back. Locks: the deliveries, skipping what others hold.
with owned as (
    select i.merchant_id, i.endpoint_number, i.room, w.id as endpoint_id, w.url, w.secret, w.previous_secret,
           w.previous_secret_until
    from unnest($4::uuid[], $5::smallint[], $6::integer[]) as i (merchant_id, endpoint_number, room)
    join webhook_endpoint_health h on h.merchant_id = i.merchant_id and h.endpoint_number = i.endpoint_number
    join webhook_endpoints w on w.merchant_id = i.merchant_id and w.number = i.endpoint_number
    where h.lease_token = $1 and h.lease_expires_at > $2 and w.status = 'enabled'
),
due as (
    select o.*, d.event_id, d.position
    from owned o cross join lateral (
        select d.event_id, d.position from webhook_deliveries d
        where d.merchant_id = o.merchant_id and d.endpoint_number = o.endpoint_number and d.next_try_at <= $2
        order by d.next_try_at
        limit o.room
        for update skip locked) d
),
claimed as (
    update webhook_deliveries d
    set try_count = d.try_count + 1, next_try_at = $3
    from due u
    where d.merchant_id = u.merchant_id and d.event_id = u.event_id and d.position = u.position
      and d.endpoint_number = u.endpoint_number
    returning d.merchant_id, d.event_id, d.position, d.endpoint_number, d.try_count, u.endpoint_id, u.url, u.secret,
              u.previous_secret, u.previous_secret_until
)
select c.*, coalesce(e.type, m.type) as type, e.sequence, coalesce(e.recorded_at, m.recorded_at) as recorded_at,
       coalesce(e.body, m.body) as body, coalesce(p.livemode, m.livemode) as livemode,
       case when e.position is not null and e.body is null then p end as payment,
       case when e.position is not null and e.body is null then a end as attempt
from claimed c
left join payment_events e on e.merchant_id = c.merchant_id and e.payment_id = c.event_id and e.position = c.position
left join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
left join payment_attempts a on a.merchant_id = e.merchant_id and a.payment_id = e.payment_id and a.number = 1
left join merchant_events m on c.position = 0 and m.merchant_id = c.merchant_id and m.id = c.event_id

-- record_tries --
-- Write how tries ended, and what is known of their endpoints now ($15 to $20); nothing of an endpoint that is somebody else's
-- by now. A delivery that was sent anew meanwhile keeps its new try. Locks: the health of the endpoints in order, deliveries.
with held as (
    select h.merchant_id, h.endpoint_number, i.consecutive_failures, i.failing_since, i.breaker_open_until, i.probe_pause_seconds
    from unnest($15::uuid[], $16::smallint[], $17::integer[], $18::timestamptz[], $19::timestamptz[], $20::integer[])
        as i (merchant_id, endpoint_number, consecutive_failures, failing_since, breaker_open_until, probe_pause_seconds)
    join webhook_endpoint_health h on h.merchant_id = i.merchant_id and h.endpoint_number = i.endpoint_number
    where h.lease_token = $1
    order by h.merchant_id, h.endpoint_number
    for update of h
),
inp as (
    select i.* from unnest($2::uuid[], $3::uuid[], $4::integer[], $5::smallint[], $6::smallint[], $7::text[], $8::timestamptz[],
                           $9::uuid[], $10::smallint[], $11::integer[], $12::text[], $13::text[], $14::timestamptz[])
        as i (merchant_id, event_id, position, endpoint_number, try_count, status, next_try_at, id, http_status, duration_ms,
              error, response_excerpt, tried_at)
    join held h on h.merchant_id = i.merchant_id and h.endpoint_number = i.endpoint_number
),
learned as (
    update webhook_endpoint_health h
    set consecutive_failures = o.consecutive_failures, failing_since = o.failing_since,
        breaker_open_until = o.breaker_open_until, probe_pause_seconds = o.probe_pause_seconds
    from held o
    where h.merchant_id = o.merchant_id and h.endpoint_number = o.endpoint_number
      and row(h.consecutive_failures, h.failing_since, h.breaker_open_until, h.probe_pause_seconds)
          is distinct from row(o.consecutive_failures, o.failing_since, o.breaker_open_until, o.probe_pause_seconds)
),
ended as (
    update webhook_deliveries d
    set status = i.status, next_try_at = i.next_try_at
    from inp i
    where d.merchant_id = i.merchant_id and d.event_id = i.event_id and d.position = i.position
      and d.endpoint_number = i.endpoint_number and d.status = 'pending' and d.try_count = i.try_count
)
insert into delivery_tries (merchant_id, id, event_id, position, endpoint_number, http_status, duration_ms, error,
                            response_excerpt, tried_at)
select i.merchant_id, i.id, i.event_id, i.position, i.endpoint_number, i.http_status, i.duration_ms, i.error,
       i.response_excerpt, i.tried_at
from inp i
-- The commit of a lost connection is unknown: it is written again.
on conflict do nothing

-- bury_deliveries --
-- Make dead letters of what waits for endpoints that are off, at most $1 at a time. Locks: the deliveries, skipping what others
-- hold.
with recursive waiting as (
    (select d.merchant_id, d.endpoint_number from webhook_deliveries d
     where d.next_try_at is not null
     order by d.merchant_id, d.endpoint_number
     limit 1)
    union all
    select n.merchant_id, n.endpoint_number
    from waiting w cross join lateral (
        select d.merchant_id, d.endpoint_number from webhook_deliveries d
        where d.next_try_at is not null and (d.merchant_id, d.endpoint_number) > (w.merchant_id, w.endpoint_number)
        order by d.merchant_id, d.endpoint_number
        limit 1) n
),
stopped as (
    select w.merchant_id, w.endpoint_number
    from waiting w join webhook_endpoints e on e.merchant_id = w.merchant_id and e.number = w.endpoint_number
    where e.status <> 'enabled'
),
chosen as (
    select d.merchant_id, d.event_id, d.position, d.endpoint_number
    from stopped s cross join lateral (
        select d.merchant_id, d.event_id, d.position, d.endpoint_number from webhook_deliveries d
        where d.merchant_id = s.merchant_id and d.endpoint_number = s.endpoint_number and d.next_try_at is not null
        order by d.next_try_at
        limit $1
        for update skip locked) d
    limit $1
)
update webhook_deliveries d
set status = 'dead', next_try_at = null
from chosen c
where d.merchant_id = c.merchant_id and d.event_id = c.event_id and d.position = c.position
  and d.endpoint_number = c.endpoint_number
returning d.endpoint_number

-- disable_endpoint --
-- Switch off an endpoint that is as it was read ($4), and tell its merchant by a public event that goes to the others.
-- Locks: endpoint.
with moved as (
    update webhook_endpoints
    set status = 'disabled', disabled_reason = $3, updated_at = $5
    where merchant_id = $1 and number = $2 and status = 'enabled' and updated_at = $4
    returning merchant_id, number, livemode
),
told as (
    insert into merchant_events (merchant_id, id, type, subject, public, livemode, actor, reason, body, recorded_at)
    select m.merchant_id, $6, 'webhook_endpoint.disabled', $7, true, m.livemode, $8, $3, $9, $5 from moved m
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, $6, 0, w.number, 'pending', $5, $5
    from moved m cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled' and w.number <> m.number
          and (w.event_types is null or 'webhook_endpoint.disabled' = any (w.event_types)) offset 0) w
)
select number from moved
