-- What must hold of the whole book. Each function returns the rows that break its sentence: on a healthy book, none.
--
-- Guards refuse a wrong write; these find what was written while a guard was off, and what nobody came to finish.
-- `at` is the moment for which liveness is asked; functions that do not depend on time take it too, so that all are
-- called alike.

create schema inv;

-- A gateway said that it took the money of a closed attempt, or held it after that, and no late charge under that id nor a
-- review of its amount accounts for it. An open attempt is still asked about.
create function inv.charge_unaccounted(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select distinct a.merchant_id, a.payment_id,
           'attempt ' || a.number || ' is ' || a.status || ', and the gateway: ' || i.outcome || ' ' || coalesce(i.provider_payment_id, '(no id)')
    from public.payment_attempts a
    join public.gateway_interactions i
        on i.merchant_id = a.merchant_id and i.payment_id = a.payment_id and i.attempt_number = a.number
    where a.status in ('failed', 'not_executed', 'voided')
      and (i.outcome = 'captured' or (i.outcome = 'authorized' and i.recorded_at > a.finished_at))
      and not exists (select from public.late_charges l
                      where l.merchant_id = a.merchant_id and l.payment_id = a.payment_id and l.attempt_number = a.number
                        and l.provider_payment_id = i.provider_payment_id)
      and not exists (select from public.reviews r
                      where r.merchant_id = a.merchant_id and r.payment_id = a.payment_id and r.reason = 'integrity_mismatch')
$$;

-- An attempt is one charge: what a gateway took under another id than the attempt's is a second one.
create function inv.attempt_charged_twice(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select distinct a.merchant_id, a.payment_id,
           'attempt ' || a.number || ' is ' || coalesce(a.provider_payment_id, '(no id)') || ', and the gateway captured ' || i.provider_payment_id
    from public.payment_attempts a
    join public.gateway_interactions i
        on i.merchant_id = a.merchant_id and i.payment_id = a.payment_id and i.attempt_number = a.number
    where a.holds and i.outcome = 'captured' and i.provider_payment_id is distinct from a.provider_payment_id
      and not exists (select from public.late_charges l
                      where l.merchant_id = a.merchant_id and l.payment_id = a.payment_id and l.attempt_number = a.number
                        and l.provider_payment_id = i.provider_payment_id)
      and not exists (select from public.reviews r
                      where r.merchant_id = a.merchant_id and r.payment_id = a.payment_id and r.reason = 'integrity_mismatch')
$$;

-- Money that the payment cannot book, and nobody was told.
create function inv.late_charge_forgotten(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select l.merchant_id, l.payment_id, 'late charge ' || l.id || ' is open without a review'
    from public.late_charges l
    where l.status = 'open'
      and not exists (select from public.reviews r
                      where r.merchant_id = l.merchant_id and r.payment_id = l.payment_id and r.status = 'open')
$$;

-- The gateway answered well and the connector could not say what it means; a person has to, once nobody asks any more.
create function inv.answer_unclassified(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select distinct i.merchant_id, i.payment_id, 'attempt ' || i.attempt_number || ': ' || i.outcome || ' without a review'
    from public.gateway_interactions i
    join public.payment_attempts a
        on a.merchant_id = i.merchant_id and a.payment_id = i.payment_id and a.number = i.attempt_number
    where i.outcome in ('unknown:unmapped_answer', 'unknown:integrity_mismatch', 'unknown:request_mismatch')
      and a.status not in ('succeeded', 'failed', 'not_executed', 'voided')
      and not exists (select from public.reviews r
                      where r.merchant_id = i.merchant_id and r.payment_id = i.payment_id)
$$;

-- What a payment says about the money is what its attempts prove.
create function inv.status_unproven(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select p.merchant_id, p.id, p.status || ' with attempts ' || coalesce(a.statuses, '(none)')
    from public.payments p
    left join lateral (
        select string_agg(t.status, ', ' order by t.number) as statuses, bool_or(t.holds) as holds,
               bool_or(t.status = 'succeeded') as taken, bool_or(t.status = 'authorized') as held,
               bool_or(t.status = 'succeeded' and t.number = p.succeeded_attempt) as proven,
               bool_or(t.status in ('started', 'pending', 'unknown', 'requires_action', 'authorized')) as open
        from public.payment_attempts t where t.merchant_id = p.merchant_id and t.payment_id = p.id
    ) a on true
    where case p.status
          when 'requires_confirmation' then a.statuses is not null
          when 'processing' then a.open is not true
          when 'requires_action' then a.open is not true
          when 'requires_capture' then a.held is not true
          when 'succeeded' then a.proven is not true
          when 'failed' then a.holds is true
          when 'canceled' then a.holds is true
          else true end
$$;

-- Two attempts that have, or may yet take, the money.
create function inv.attempts_holding_twice(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempts ' || string_agg(a.number || ' ' || a.status, ', ' order by a.number)
    from public.payment_attempts a where a.holds
    group by a.merchant_id, a.payment_id having count(*) > 1
$$;

-- The history walks along the table, each step from where the one before it ended.
create function inv.history_illegal(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select h.merchant_id, h.payment_id,
           'event ' || h.position || ': ' || coalesce(h.from_status, '(not born)') || ' to ' || h.to_status
           || ' after ' || coalesce(h.status_before, '(not born)')
    from (select e.merchant_id, e.payment_id, e.position, e.from_status, e.to_status,
                 lag(e.to_status) over (partition by e.merchant_id, e.payment_id order by e.position) as status_before
          from public.payment_events e where e.to_status is not null) h
    where h.from_status is distinct from h.status_before
       or not exists (select from public.payment_transitions t
                      where t.from_status is not distinct from h.from_status and t.to_status = h.to_status)
$$;

-- Each state has its event, each event its place: no gap, no repeat, and the last one told what is true now.
create function inv.events_disagree(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select p.merchant_id, p.id,
           p.status || ' at position ' || p.event_position || ', sequence ' || p.event_sequence || '; events: '
           || coalesce(e.last_status, '(none)') || ', ' || e.events || ' to ' || coalesce(e.last_position, 0)
           || ', ' || e.public_events || ' to ' || coalesce(e.last_sequence, 0)
    from public.payments p
    left join (
        select v.merchant_id, v.payment_id, count(*) as events, max(v.position) as last_position,
               count(distinct v.sequence) as public_events, max(v.sequence) as last_sequence,
               (array_agg(v.to_status order by v.position desc) filter (where v.to_status is not null))[1] as last_status,
               max(v.position) filter (where v.body is not null and v.sequence is not null and v.to_status is not null) as answer
        from public.payment_events v group by v.merchant_id, v.payment_id
    ) e on e.merchant_id = p.merchant_id and e.payment_id = p.id
    where e.events is distinct from p.event_position or e.last_position is distinct from p.event_position
       or e.public_events is distinct from p.event_sequence or e.last_sequence is distinct from p.event_sequence
       or e.last_status is distinct from p.status
       or (p.final_position is not null and e.answer is distinct from p.final_position)
$$;

-- Nothing waits without somebody who looks: the worker at the check, a person after the deadline. The rarest look is
-- once a week and the longest deadline two weeks, so that what lies more than 31 days ahead was put out of sight.
create function inv.left_alone(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' is ' || a.status || ', next check ' || coalesce(a.next_check_at::text, 'never')
    from public.payment_attempts a
    where a.status in ('started', 'pending', 'unknown', 'requires_action', 'authorized')
      and (a.next_check_at is null or a.next_check_at < at - interval '15 minutes' or a.next_check_at > at + interval '31 days')
    union all
    select l.merchant_id, l.payment_id, 'late charge ' || l.id || ' is open, next check ' || coalesce(l.next_check_at::text, 'never')
    from public.late_charges l
    where l.status = 'open' and (l.next_check_at is null or l.next_check_at > at + interval '31 days')
    union all
    select p.merchant_id, p.id, p.status || ' since ' || p.updated_at || ', deadline ' || coalesce(p.processing_deadline_at::text, 'never')
    from public.payments p
    where p.status in ('processing', 'requires_action')
      and (p.processing_deadline_at is null or p.processing_deadline_at > at + interval '31 days'
           or (p.processing_deadline_at < at - interval '15 minutes'
               and not exists (select from public.reviews r
                               where r.merchant_id = p.merchant_id and r.payment_id = p.id and r.status = 'open')))
$$;

-- An attempt was opened, and a quarter of an hour later there is no trace of a request.
create function inv.attempt_silent(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' is ' || a.status || ' since ' || a.created_at || ' without an interaction'
    from public.payment_attempts a
    where a.status in ('started', 'pending', 'unknown', 'requires_action', 'authorized')
      and a.created_at < at - interval '15 minutes'
      and not exists (select from public.gateway_interactions i
                      where i.merchant_id = a.merchant_id and i.payment_id = a.payment_id and i.attempt_number = a.number)
$$;

-- A further attempt waits until every earlier one is proven closed.
create function inv.attempt_too_early(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' was opened before attempt ' || b.number || ' was closed'
    from public.payment_attempts a
    join public.payment_attempts b
        on b.merchant_id = a.merchant_id and b.payment_id = a.payment_id and b.number < a.number
    where a.number > 1 and (b.finished_at is null or b.finished_at > a.created_at)
$$;

-- The sums on the payment are those of its attempts.
create function inv.amounts_disagree(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select p.merchant_id, p.id, p.status || ': captured ' || p.amount_captured || ', capturable ' || p.amount_capturable
           || ', refunded ' || p.amount_refunded || ' of ' || p.amount
    from public.payments p
    where (p.status = 'succeeded' and p.capture_method = 'automatic' and p.amount_captured <> p.amount)
       or (p.status <> 'succeeded' and p.amount_captured <> 0)
       or (p.status not in ('requires_capture', 'processing') and p.amount_capturable <> 0)
       or p.amount_captured + p.amount_capturable > p.amount
       or p.amount_refunded + p.amount_refund_pending > p.amount_captured
$$;

-- What was accepted is what was asked for.
create function inv.accepted_otherwise(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' took ' || a.amount || ' ' || a.currency || ' of ' || p.amount || ' ' || p.currency
    from public.payment_attempts a
    join public.payments p on p.merchant_id = a.merchant_id and p.id = a.payment_id
    where a.status in ('authorized', 'succeeded') and (a.amount <> p.amount or a.currency <> p.currency)
$$;

-- A client that asks again gets an answer.
create function inv.key_unfinished(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select k.merchant_id, k.payment_id, 'a key of ' || k.created_at || ' is not finished'
    from public.idempotency_keys k
    where k.finished_at is null and greatest(k.created_at, k.owned_until) < at - interval '5 minutes'
$$;

-- A stored answer is the last word of its payment.
create function inv.key_answered_early(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select k.merchant_id, k.payment_id, 'a key was answered ' || k.response_status || ' while the payment is ' || p.status
    from public.idempotency_keys k
    join public.payments p on p.merchant_id = k.merchant_id and p.id = k.payment_id
    where k.response_status is not null and p.final_position is null
$$;

-- A worker that died gives its work back; somebody has to take it.
create function inv.lease_stale(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' is leased until ' || a.lease_expires_at
    from public.payment_attempts a
    where a.lease_expires_at < at - interval '10 minutes'
$$;

-- All of them, by name.
create function inv.all_violations(at timestamptz)
returns table (invariant text, merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select 'charge_unaccounted', v.* from inv.charge_unaccounted(at) v
    union all select 'attempt_charged_twice', v.* from inv.attempt_charged_twice(at) v
    union all select 'late_charge_forgotten', v.* from inv.late_charge_forgotten(at) v
    union all select 'answer_unclassified', v.* from inv.answer_unclassified(at) v
    union all select 'status_unproven', v.* from inv.status_unproven(at) v
    union all select 'attempts_holding_twice', v.* from inv.attempts_holding_twice(at) v
    union all select 'history_illegal', v.* from inv.history_illegal(at) v
    union all select 'events_disagree', v.* from inv.events_disagree(at) v
    union all select 'left_alone', v.* from inv.left_alone(at) v
    union all select 'attempt_silent', v.* from inv.attempt_silent(at) v
    union all select 'attempt_too_early', v.* from inv.attempt_too_early(at) v
    union all select 'amounts_disagree', v.* from inv.amounts_disagree(at) v
    union all select 'accepted_otherwise', v.* from inv.accepted_otherwise(at) v
    union all select 'key_unfinished', v.* from inv.key_unfinished(at) v
    union all select 'key_answered_early', v.* from inv.key_answered_early(at) v
    union all select 'lease_stale', v.* from inv.lease_stale(at) v
$$;

grant usage on schema inv to paymux_app;
