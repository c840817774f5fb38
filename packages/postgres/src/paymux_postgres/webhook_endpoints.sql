-- insert_webhook_endpoint --
-- Store an endpoint under its merchant's next number, with its health. Two at once clash, and the second is tried again.
-- Locks: the merchant, so that few clash.
with merchant as (
    select m.id from merchants m where m.id = $1 for no key update
),
born as (
    insert into webhook_endpoints (merchant_id, id, number, url, event_types, description, metadata, status, secret, livemode,
                                   filters_changed_at, created_at, updated_at)
    select m.id, $2, (select coalesce(max(w.number), 0) + 1 from webhook_endpoints w where w.merchant_id = m.id), $3, $4, $5,
           $6::jsonb, 'enabled', $7, $8, $9, $9, $9
    from merchant m
    where (select count(*) from webhook_endpoints w where w.merchant_id = m.id and w.status <> 'deleted') < $10
    returning merchant_id, number
)
insert into webhook_endpoint_health (merchant_id, endpoint_number)
select b.merchant_id, b.number from born b
returning endpoint_number

-- find_webhook_endpoint --
-- Read one endpoint by its id or its number; a deleted one is there by its number only.
select w.* from webhook_endpoints w
where w.merchant_id = $1 and ((w.id = $2 and w.status <> 'deleted') or w.number = $3)

-- list_webhook_endpoints --
-- List a merchant's endpoints of one mode, newest first, from below $3.
select w.* from webhook_endpoints w
where w.merchant_id = $1 and w.livemode = $2 and w.id < $3 and w.status <> 'deleted'
order by w.merchant_id, w.id desc
limit $4

-- change_webhook_endpoint --
-- Write an endpoint that is as it was read ($3). Enabled anew it begins with a clean health. Locks: endpoint, its health.
with moved as (
    update webhook_endpoints w
    set url = $4, event_types = $5, description = $6, metadata = $7::jsonb, status = $8, disabled_reason = $9, secret = $10,
        previous_secret = $11, previous_secret_until = $12, filters_changed_at = $13, updated_at = $14
    where w.merchant_id = $1 and w.id = $2 and w.updated_at = $3 and w.status <> 'deleted'
    returning w.merchant_id, w.number
),
healed as (
    update webhook_endpoint_health h
    set consecutive_failures = 0, failing_since = null, breaker_open_until = null, probe_pause_seconds = null
    from moved m
    where $15::boolean and h.merchant_id = m.merchant_id and h.endpoint_number = m.number
)
select number from moved

-- send_test_event --
-- Tell an enabled endpoint of itself, whatever it filters. Locks: none.
with chosen as (
    select w.merchant_id, w.number, w.id, w.livemode from webhook_endpoints w
    where w.merchant_id = $1 and w.id = $2 and w.status = 'enabled'
),
told as (
    insert into merchant_events (merchant_id, id, type, subject, public, livemode, actor, reason, request_id, body, recorded_at)
    select c.merchant_id, $3, 'webhook_endpoint.test', $4, true, c.livemode, $5, 'asked_for', $6, $7, $8 from chosen c
)
insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
select c.merchant_id, $3, 0, c.number, 'pending', $8, $8 from chosen c
returning endpoint_number

-- resend_event --
-- Send an event anew to every enabled endpoint that wants it, whatever became of it there. Locks: its deliveries.
with sent as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select w.merchant_id, $2, $3, w.number, 'pending', $6, $6
    from webhook_endpoints w
    where w.merchant_id = $1 and w.livemode = $4 and w.status = 'enabled' and (w.event_types is null or $5 = any (w.event_types))
    order by w.number
    on conflict (merchant_id, event_id, position, endpoint_number) do update
    set status = 'pending', next_try_at = $6, try_count = 0
    returning merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at
)
select s.*, w.id as endpoint_id, null as tries
from sent s join webhook_endpoints w on w.merchant_id = s.merchant_id and w.number = s.endpoint_number
order by s.endpoint_number

-- resend_dead --
-- Send the dead letters of an enabled endpoint anew, those recorded from $3 to $4, oldest first, at most $5. Locks: deliveries,
-- skipping what others hold.
with chosen as (
    select d.merchant_id, d.event_id, d.position, d.endpoint_number, w.id as endpoint_id
    from webhook_endpoints w
    join webhook_deliveries d on d.merchant_id = w.merchant_id and d.endpoint_number = w.number
    where w.merchant_id = $1 and w.id = $2 and w.status = 'enabled' and d.status = 'dead'
      and d.created_at >= $3 and d.created_at < $4
    order by d.created_at
    limit $5
    for update of d skip locked
)
update webhook_deliveries d
set status = 'pending', next_try_at = $6, try_count = 0
from chosen c
where d.merchant_id = c.merchant_id and d.event_id = c.event_id and d.position = c.position
  and d.endpoint_number = c.endpoint_number
returning d.event_id, d.position, d.endpoint_number, d.status, d.next_try_at, d.created_at, c.endpoint_id, null as tries

-- list_webhook_deliveries --
-- Walk a merchant's deliveries of one mode, those of the newest payments first, at most $9 rows; the filters are applied to
-- what was walked, but for the event's ($6, $7). At most 20 tries of each are shown. Locks: none.
with walked as (
    select d.merchant_id, d.event_id, d.position, d.endpoint_number, d.status, d.next_try_at, d.created_at
    from webhook_deliveries d
    where d.merchant_id = $1 and (d.event_id, d.position, d.endpoint_number) < ($3::uuid, $4::integer, $5::integer)
      and ($6::uuid is null or (d.event_id = $6 and d.position = $7))
    order by d.event_id desc, d.position desc, d.endpoint_number desc
    limit $9
),
fitting as (
    select w.*, e.id as endpoint_id
    from walked w join webhook_endpoints e on e.merchant_id = w.merchant_id and e.number = w.endpoint_number
    where e.livemode = $2 and ($8::text is null or w.status = $8) and ($10::uuid is null or e.id = $10)
    order by w.event_id desc, w.position desc, w.endpoint_number desc
    limit $11
),
last as (
    select w.event_id, w.position, w.endpoint_number from walked w
    order by w.event_id, w.position, w.endpoint_number
    limit 1
)
select f.event_id, f.position, f.endpoint_number, f.endpoint_id, f.status, f.next_try_at, f.created_at, true as fits,
       (select array_agg(t order by t.id) from delivery_tries t
        where t.merchant_id = f.merchant_id and t.id = any (array(
            select n.id from delivery_tries n
            where n.merchant_id = f.merchant_id and n.event_id = f.event_id and n.position = f.position
              and n.endpoint_number = f.endpoint_number
            order by n.id desc
            limit 20))) as tries, (select count(*) from walked) as walked
from fitting f
union all
select l.event_id, l.position, l.endpoint_number, null, null, null, null, false, null, (select count(*) from walked) from last l
