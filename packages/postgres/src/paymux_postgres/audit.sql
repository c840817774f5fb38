-- try_to_be_sealer --
-- Be the only sealer until the transaction ends, or learn that somebody else is.
select pg_try_advisory_xact_lock($1) as alone

-- read_bounds --
-- How far the log is sealed, and how far it may be: below every transaction that still runs nothing is added any more.
select (select max(epoch) from event_epochs) as epoch_now, pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin

-- read_last_seal --
-- The head of the chain.
select * from audit_seals order by block desc limit 1

-- read_seals --
-- Blocks of the chain in order, behind block $1.
select * from audit_seals where block > $1 order by block limit $2

-- count_seals --
-- How many blocks there are.
select count(*) as blocks from audit_seals

-- first_xid_from --
-- The oldest transaction in a range that wrote anything that is sealed: a long gap is stepped over.
select least(
    (select min(e.xid::text::bigint) from payment_events e
     where e.epoch = $1 and e.xid::text::bigint >= $2 and e.xid::text::bigint < $3),
    (select min(m.xid::text::bigint) from merchant_events m
     where m.epoch = $1 and m.xid::text::bigint >= $2 and m.xid::text::bigint < $3),
    (select min(i.xid::text::bigint) from gateway_interactions i
     where i.epoch = $1 and i.xid::text::bigint >= $2 and i.xid::text::bigint < $3)) as xid

-- read_digests --
-- SHA-256 of every row of a range in its one form (1), in the order (transaction, table, key); names too if $4.
-- The text of a jsonb array tells its members apart, whatever is in them; times are microseconds.
with digests as (
    select e.xid::text::bigint as xid, 1 as kind,
           e.merchant_id::text || e.payment_id::text || lpad(e.position::text, 10, '0') as key,
           case when $4::boolean then 'event ' || e.position || ' of payment ' || e.payment_id end as label,
           sha256(convert_to(jsonb_build_array(
               'payment_events', e.merchant_id, e.payment_id, e.position, e.sequence, e.type, e.from_status, e.to_status,
               e.attempt_number, e.actor, e.reason, e.request_id, encode(e.body, 'hex'),
               (extract(epoch from e.recorded_at) * 1000000)::bigint, e.epoch, e.xid::text)::text, 'UTF8')) as digest
    from payment_events e
    where e.epoch = $1 and e.xid::text::bigint >= $2 and e.xid::text::bigint < $3
    union all
    select m.xid::text::bigint, 2, m.merchant_id::text || m.id::text,
           case when $4::boolean then 'event ' || m.id || ' of merchant ' || m.merchant_id end,
           sha256(convert_to(jsonb_build_array(
               'merchant_events', m.merchant_id, m.id, m.type, m.subject, m.public, m.livemode, m.actor, m.reason, m.request_id,
               encode(m.body, 'hex'), (extract(epoch from m.recorded_at) * 1000000)::bigint, m.epoch, m.xid::text)::text, 'UTF8'))
    from merchant_events m
    where m.epoch = $1 and m.xid::text::bigint >= $2 and m.xid::text::bigint < $3
    union all
    select i.xid::text::bigint, 3, i.merchant_id::text || i.payment_id::text || i.id::text,
           case when $4::boolean then 'interaction ' || i.id || ' of payment ' || i.payment_id end,
           sha256(convert_to(jsonb_build_array(
               'gateway_interactions', i.merchant_id, i.payment_id, i.id, i.attempt_number, i.event_position, i.verb, i.method,
               i.url, i.idempotency_key, i.request, i.response, encode(i.response_sha256, 'hex'), i.http_status, i.bytes_sent,
               i.transport_error, i.gateway_request_id, i.outcome, i.provider_payment_id, i.actor, i.request_id,
               (extract(epoch from i.sent_at) * 1000000)::bigint, i.duration_ms,
               (extract(epoch from i.recorded_at) * 1000000)::bigint, i.epoch, i.xid::text)::text, 'UTF8'))
    from gateway_interactions i
    where i.epoch = $1 and i.xid::text::bigint >= $2 and i.xid::text::bigint < $3
)
select d.kind = 3 as of_interactions,
       coalesce(string_agg(d.digest, '' order by d.xid, d.kind, d.key collate "C"), '') as digests,
       case when $4::boolean then array_agg(d.label order by d.xid, d.kind, d.key collate "C") end as labels
from digests d
group by d.kind = 3

-- insert_seal --
-- Append a block to the chain. Locks: none but its own row; the sealer is alone.
insert into audit_seals (block, form, epoch, from_xid, to_xid, rows, marks, interactions, interaction_marks, interactions_hash,
                         prev_hash, hash, sealed_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
