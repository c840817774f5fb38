-- list_sweeps --
-- All merchants, how far the payments of each were swept, and when its unconfirmed ones expire. Locks: none.
select m.id as merchant_id, s.swept_through, (m.settings ->> 'unconfirmed_expires_after_hours')::integer as expires_after_hours
from merchants m left join sweeps s on s.merchant_id = m.id and s.kind = 'unconfirmed'
order by m.id

-- walk_unconfirmed --
-- Walk a range of ids of each merchant ($1, after $2, before $3), at most $4 payments, and pick those nobody confirmed.
-- No index knows the status: it would cost every confirm its cheap update. Locks: none.
select r.merchant_id, w.walked, w.last_walked, w.unconfirmed
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as r (merchant_id, after_id, before_id)
cross join lateral (
    select count(*) as walked, (array_agg(p.id order by p.id desc))[1] as last_walked,
           array_agg(p.id order by p.id) filter (where p.status = 'requires_confirmation') as unconfirmed
    from (select q.id, q.status from payments q
          where q.merchant_id = r.merchant_id and q.id > r.after_id and q.id < r.before_id
          order by q.id
          limit $4) p
) w
where w.walked > 0

-- expire_unconfirmed --
-- Cancel payments that were never confirmed, each with its event. A payment that has moved on since it was read changes
-- nothing, and one that somebody holds (a confirm) is left to him. Their keys have no answer of their own, so that none is
-- stored. Locks: payments in (merchant_id, id) order, skipping what others hold.
with inp as (
    select * from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bytea[]) as i (merchant_id, payment_id, version, body)
),
locked as (
    select i.*
    from inp i join payments p on p.merchant_id = i.merchant_id and p.id = i.payment_id
    order by p.merchant_id, p.id
    for update of p skip locked
),
moved as (
    update payments p
    set status = 'canceled', cancellation_reason = 'expired', event_position = p.event_position + 1,
        event_sequence = p.event_sequence + 1, final_position = p.event_position + 1, version = p.version + 1,
        updated_at = $5, finalized_at = $5
    from locked l
    where p.merchant_id = l.merchant_id and p.id = l.payment_id and p.status = 'requires_confirmation'
      and p.version = l.version
    returning p.merchant_id, p.id, p.livemode, p.event_position, p.event_sequence, l.body
),
told as (
    insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, actor,
                                reason, body, recorded_at)
    select m.merchant_id, m.id, m.event_position, m.event_sequence, 'payment.canceled', 'requires_confirmation',
           'canceled', $6, 'expired', m.body, $5
    from moved m
),
delivered as (
    insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, created_at)
    select m.merchant_id, m.id, m.event_position, w.number, 'pending', $5, $5
    from moved m cross join lateral (
        select w.number from webhook_endpoints w
        where w.merchant_id = m.merchant_id and w.livemode = m.livemode and w.status = 'enabled'
          and (w.event_types is null or 'payment.canceled' = any (w.event_types)) offset 0) w
)
select id from moved

-- note_sweep --
-- Note how far a merchant's payments were swept; two sweeps that cross keep the one that came further. Locks: its row.
insert into sweeps (merchant_id, kind, swept_through, updated_at) values ($1, 'unconfirmed', $2, $3)
on conflict (merchant_id, kind) do update set swept_through = excluded.swept_through, updated_at = excluded.updated_at
where sweeps.swept_through < excluded.swept_through

-- reap_keys --
-- Delete expired keys by the owner's hand; we may not delete. Locks: those keys, skipping what others hold.
select deleted, prolonged from reap_keys($1, $2)

-- reap_slots --
-- Delete slots of long ago by the owner's hand. Locks: those slots.
select reap_slots($1, $2) as deleted

-- monthly_tables --
-- Name the tables that are partitioned by month.
select parent from monthly_tables() as parent

-- make_partitions --
-- Make a table's months ahead by the owner's hand. Locks: for a moment what its rows refer to, against writers.
select made from make_partitions($1, $2, $3) as made

-- drop_partitions --
-- Drop a table's months of long ago by the owner's hand. Locks: the table, for a moment.
select partition, rows from drop_partitions($1, $2, $3)
