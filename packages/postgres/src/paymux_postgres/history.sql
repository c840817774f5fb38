-- list_history --
-- All that happened to a payment, in the order (recorded_at, position, key), behind a place in it: rows as they are, but
-- for whose turn a check is. What is not an event carries the position of the event that was written with it, if any.
-- A webhook stands where it was applied, with the gateway's bytes known by their hash; each try to deliver stands by itself.
with history as (
    select 'event' as kind, e.recorded_at, e.position, 'evt_' || e.payment_id || '_' || lpad(e.position::text, 10, '0') as key,
           e.actor, e.request_id, to_jsonb(e) as row, e.body
    from payment_events e
    where e.merchant_id = $1 and e.payment_id = $2
    union all
    select 'attempt', a.created_at, coalesce(e.position, 0), 'att_' || a.payment_id || '_' || lpad(a.number::text, 10, '0'),
           e.actor, a.request_id, to_jsonb(a) - '{lease_token,lease_expires_at}'::text[], null
    from payment_attempts a
    left join lateral (select v.position, v.actor from payment_events v
                       where v.merchant_id = a.merchant_id and v.payment_id = a.payment_id and v.recorded_at = a.created_at
                       order by v.position desc limit 1) e on true
    where a.merchant_id = $1 and a.payment_id = $2
    union all
    select 'interaction', i.recorded_at, i.event_position, 'int_' || i.id, i.actor, i.request_id, to_jsonb(i), null
    from gateway_interactions i
    where i.merchant_id = $1 and i.payment_id = $2
    union all
    select 'webhook', w.finished_at, coalesce(w.event_position, 0), 'whk_' || w.webhook_id, 'gateway:' || w.gateway_account_id,
           null,
           to_jsonb(w) - '{lease_token,lease_expires_at}'::text[]
           || coalesce(jsonb_build_object('type', i.type, 'event_id', i.event_id, 'body_sha256', encode(i.body_sha256, 'hex')), '{}'),
           null
    from inbound_webhook_work w
    left join inbound_webhooks i on i.merchant_id = w.merchant_id and i.id = w.webhook_id
    where w.merchant_id = $1 and w.payment_id = $2 and w.finished_at is not null
    union all
    select 'delivery', t.tried_at, t.position, 'try_' || t.id, 'worker', null,
           to_jsonb(t) || jsonb_build_object('webhook_endpoint_id', w.id), null
    from delivery_tries t
    join webhook_endpoints w on w.merchant_id = t.merchant_id and w.number = t.endpoint_number
    where t.merchant_id = $1 and t.event_id = $2
    union all
    select 'review', r.opened_at, coalesce(e.position, 0), 'rv_' || r.id, coalesce(r.actor, e.actor), null, to_jsonb(r), null
    from reviews r
    left join lateral (select v.position, v.actor from payment_events v
                       where v.merchant_id = r.merchant_id and v.payment_id = r.payment_id and v.recorded_at = r.opened_at
                         and v.type = 'payment.needs_review'
                       order by v.position desc limit 1) e on true
    where r.merchant_id = $1 and r.payment_id = $2
    union all
    select 'late_charge', l.created_at, coalesce(e.position, 0), 'lc_' || l.id, e.actor, null, to_jsonb(l), null
    from late_charges l
    left join lateral (select v.position, v.actor from payment_events v
                       where v.merchant_id = l.merchant_id and v.payment_id = l.payment_id and v.recorded_at = l.created_at
                         and v.type = 'payment.late_success'
                       order by v.position desc limit 1) e on true
    where l.merchant_id = $1 and l.payment_id = $2
)
select h.* from history h
where h.kind = any($3::text[])
  and ($4::timestamptz is null
       or (h.recorded_at, h.position, h.key collate "C") > ($4::timestamptz, $5::integer, $6::text collate "C"))
order by h.recorded_at, h.position, h.key collate "C"
limit $7
