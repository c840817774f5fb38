-- read_log_end --
-- Up to where the log is final: below the oldest transaction that still runs, in the epoch that is written now. Locks: none.
select (select max(epoch) from event_epochs) as epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin

-- walk_log --
-- Read what a merchant was told by the transactions from $5 up to $6 of one epoch, in the order of the log behind the place
-- ($3, $7, $8), and how many rows of all merchants were walked for it. Locks: none.
with walked as materialized (
    select e.merchant_id, e.payment_id as event_id, e.position, e.type, e.sequence, e.recorded_at, e.xid::text::bigint as xid
    from payment_events e
    where e.xid::text::bigint >= $5 and e.xid::text::bigint < $6 and e.epoch = $2 and e.sequence is not null
    union all
    select m.merchant_id, m.id, 0, m.type, null, m.recorded_at, m.xid::text::bigint
    from merchant_events m
    where m.xid::text::bigint >= $5 and m.xid::text::bigint < $6 and m.epoch = $2 and m.public
),
chosen as (
    select w.* from walked w
    left join payments p on p.merchant_id = w.merchant_id and p.id = w.event_id and w.position > 0
    left join merchant_events m on m.merchant_id = w.merchant_id and m.id = w.event_id and w.position = 0
    where w.merchant_id = $1 and (w.xid, w.event_id, w.position) > ($3::bigint, $7::uuid, $8::integer)
      and coalesce(p.livemode, m.livemode) = $4 and ($9::text is null or w.type = $9)
    order by w.xid, w.event_id, w.position
    limit $10
)
select c.*, coalesce(e.body, m.body) as body, coalesce(p.livemode, m.livemode) as livemode,
       case when e.position is not null and e.body is null then p end as payment,
       case when e.position is not null and e.body is null then a end as attempt, (select count(*) from walked) as walked
from chosen c
left join payment_events e on e.merchant_id = c.merchant_id and e.payment_id = c.event_id and e.position = c.position
left join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
left join payment_attempts a on a.merchant_id = e.merchant_id and a.payment_id = e.payment_id and a.number = 1
left join merchant_events m on c.position = 0 and m.merchant_id = c.merchant_id and m.id = c.event_id
union all
select null, null, null, null, null, null, null, null, null, null, null, (select count(*) from walked)

-- list_payment_events --
-- Read a payment's public events behind a position, in their order.
select e.merchant_id, e.payment_id as event_id, e.position, e.type, e.sequence, e.recorded_at, e.xid::text::bigint as xid, e.epoch,
       e.body, p.livemode, case when e.body is null then p end as payment, case when e.body is null then a end as attempt
from payment_events e
join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
left join payment_attempts a on a.merchant_id = e.merchant_id and a.payment_id = e.payment_id and a.number = 1
where e.merchant_id = $1 and e.payment_id = $2 and p.livemode = $3 and e.position > $4 and e.sequence is not null
  and ($5::text is null or e.type = $5)
order by e.position
limit $6

-- find_event --
-- Read one public event of a payment, or one that belongs to none (position 0).
select e.merchant_id, e.payment_id as event_id, e.position, e.type, e.sequence, e.recorded_at,
       e.body, p.livemode, case when e.body is null then p end as payment, case when e.body is null then a end as attempt
from payment_events e
join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
left join payment_attempts a on a.merchant_id = e.merchant_id and a.payment_id = e.payment_id and a.number = 1
where e.merchant_id = $1 and e.payment_id = $2 and e.position = $3 and e.sequence is not null
union all
select m.merchant_id, m.id, 0, m.type, null, m.recorded_at, m.body, m.livemode, null, null
from merchant_events m
where $3 = 0 and m.merchant_id = $1 and m.id = $2 and m.public
