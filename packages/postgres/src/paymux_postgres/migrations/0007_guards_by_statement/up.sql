-- A batch writes many payments with one statement: its guards look at all of them with one query, not row by row. In a lane
-- `before` is compared with `after` row by row; the column that tells rows apart stands first.

-- What the log says of a payment between two positions, and the one attempt that holds. One row; a join inlines it.
create function told_since(merchant uuid, payment uuid, status_before text, status_now text, position_before integer,
                           position_now integer, sequence_before integer, final integer)
    returns table (events bigint, public_events bigint, moves bigint, in_sequence boolean, says_so boolean, has_answer boolean,
                   attempt_number smallint, attempt_status text, attempt_amount bigint, attempt_currency text)
    language sql stable as $$
    select e.*, a.number, a.status, a.amount, a.currency
    from (select count(*), count(sequence), count(to_status),
                 coalesce(bool_and(sequence = sequence_before + public_number), true),
                 coalesce(bool_or(to_status = status_now and from_status is not distinct from status_before), false),
                 coalesce(bool_or(position = final and to_status = status_now and sequence is not null and body is not null), false)
          from (select position, sequence, from_status, to_status, body, count(sequence) over (order by position) as public_number
                from public.payment_events v
                where v.merchant_id = merchant and v.payment_id = payment
                  and position > position_before and position <= position_now) v) e
    left join public.payment_attempts a on a.merchant_id = merchant and a.payment_id = payment and a.holds
$$;
grant execute on function told_since to paymux_app;

-- What a change of a payment breaks, in words; null if nothing. `moves`: its status changes.
create function guard_payment_changes() returns trigger language plpgsql as $$
declare
    broken text;
begin
    select v.violation into broken
    from after n
    left join before o on o.id = n.id and o.merchant_id = n.merchant_id
    cross join lateral (select o.status is distinct from n.status as moves) m
    cross join lateral public.told_since(n.merchant_id, n.id, o.status, n.status, o.event_position, n.event_position,
                                         o.event_sequence, n.final_position) told
    left join public.payment_transitions t on t.from_status = o.status and t.to_status = n.status
    cross join lateral (select case
        when o.id is null then 'it took the place of another'
        when n.version <> o.version + 1 then 'version must grow by one with every change'
        when not m.moves and o.finalized_at is not null
             and row(o.finalized_at, o.final_position, o.succeeded_attempt, o.amount_captured, o.gateway, o.last_error, o.cancellation_reason)
                 is distinct from row(n.finalized_at, n.final_position, n.succeeded_attempt, n.amount_captured, n.gateway, n.last_error, n.cancellation_reason)
            then 'how it ended, and the answer that is replayed, do not change'
        when m.moves and t.to_status is null then format('no transition from %s to %s', o.status, n.status)
        when n.event_position = o.event_position
             and row(o.status, o.payment_method, o.return_url, o.off_session, o.next_action, o.last_error, o.gateway,
                     o.amount_capturable, o.amount_captured, o.amount_refunded, o.amount_refund_pending, o.succeeded_attempt,
                     o.processing_deadline_at, o.cancellation_reason, o.cancellation_requested_at, o.finalized_at, o.final_position)
                 is distinct from
                 row(n.status, n.payment_method, n.return_url, n.off_session, n.next_action, n.last_error, n.gateway,
                     n.amount_capturable, n.amount_captured, n.amount_refunded, n.amount_refund_pending, n.succeeded_attempt,
                     n.processing_deadline_at, n.cancellation_reason, n.cancellation_requested_at, n.finalized_at, n.final_position)
            then 'a change of it needs its event'
        when told.events <> n.event_position - o.event_position
             or told.public_events <> n.event_sequence - o.event_sequence or not told.in_sequence
            then format('events %s to %s and sequence %s to %s are not all there', o.event_position + 1, n.event_position,
                        o.event_sequence + 1, n.event_sequence)
        when told.moves <> m.moves::integer or told.says_so <> m.moves
            then format('its events do not tell the change from %s to %s, and no other', o.status, n.status)
        when not m.moves then null
        when n.finalized_at is not null and not told.has_answer then 'the event at final_position does not hold the answer'
        when n.status in ('requires_confirmation', 'failed', 'canceled') then
            case when told.attempt_number is not null
                 then format('not %s while an attempt holds money or may yet take it', n.status) end
        when n.status = 'succeeded' then
            case when row(told.attempt_number, told.attempt_status, told.attempt_amount, told.attempt_currency)
                      is distinct from row(n.succeeded_attempt, 'succeeded'::text, n.amount, n.currency)
                 then 'no succeeded attempt of the same amount and currency' end
        when n.status = 'requires_capture' then
            case when told.attempt_status is distinct from 'authorized'
                 then format('not %s without an authorized attempt', n.status) end
        when told.attempt_number is null or told.attempt_status = 'succeeded' then
            format('not %s without an open attempt', n.status)
        end as reason) r
    cross join lateral (select format('payment %s: %s', n.id, r.reason) as violation) v
    where r.reason is not null
    limit 1;
    if found then
        raise exception '%', broken using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
drop trigger payments_guard on payments;
create trigger payments_guard after update on payments referencing old table as before new table as after
    for each statement execute function guard_payment_changes();

-- A birth is one of its kind in a request, so that it is looked at row by row.
drop trigger payments_guard_birth on payments;
drop function guard_payment();
create function guard_payment_birth() returns trigger language plpgsql as $$
declare
    told record;
begin
    if not exists (select from public.payment_transitions where from_status is null and to_status = new.status) then
        raise exception 'payment %: not born as %', new.id, new.status using errcode = 'integrity_constraint_violation';
    end if;
    select * into told from public.told_since(new.merchant_id, new.id, null, new.status, 0, new.event_position, 0, new.final_position);
    if told.events <> new.event_position or told.public_events <> new.event_sequence or not told.in_sequence
       or told.moves <> 1 or not told.says_so then
        raise exception 'payment %: events 1 to % and sequence 1 to % are not all there, or do not tell its birth', new.id,
            new.event_position, new.event_sequence using errcode = 'integrity_constraint_violation';
    end if;
    if told.attempt_number is not null then
        raise exception 'payment %: born with an attempt', new.id using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger payments_guard_birth after insert on payments for each row execute function guard_payment_birth();

create function guard_attempt_births() returns trigger language plpgsql as $$
declare
    broken text;
begin
    -- Whoever ends the payment meanwhile is waited for; an attempt's foreign key alone would let both pass.
    perform from public.payments p join after n on p.merchant_id = n.merchant_id and p.id = n.payment_id for no key update of p;
    select format('attempt %s of payment %s: %s', n.number, n.payment_id, r.reason) into broken
    from after n
    left join public.attempt_transitions t on t.from_status is null and t.to_status = n.status
    left join public.payment_attempts a
        on a.merchant_id = n.merchant_id and a.payment_id = n.payment_id and a.number = n.number - 1
    left join public.payments p on p.merchant_id = n.merchant_id and p.id = n.payment_id
    cross join lateral (select case
        when t.to_status is null then format('not born as %s', n.status)
        when n.number > 1 and a.number is null then 'numbers have no gaps'
        -- Nobody charges a payment that was not confirmed, or has ended, or another amount than was agreed.
        when row(p.status, p.amount, p.currency) is distinct from row('processing'::text, n.amount, n.currency)
            then 'not for a processing payment of its amount and currency'
        end as reason) r
    where r.reason is not null
    limit 1;
    if found then
        raise exception '%', broken using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
drop trigger attempts_guard_birth on payment_attempts;
create trigger attempts_guard_birth after insert on payment_attempts referencing new table as after
    for each statement execute function guard_attempt_births();

create function guard_attempt_changes() returns trigger language plpgsql as $$
declare
    broken text;
begin
    select format('attempt %s of payment %s: no transition from %s to %s', n.number, n.payment_id, o.status, n.status) into broken
    from after n
    left join before o on o.payment_id = n.payment_id and o.number = n.number and o.merchant_id = n.merchant_id
    left join public.attempt_transitions t on t.from_status = o.status and t.to_status = n.status
    where o.status is distinct from n.status and t.to_status is null
    limit 1;
    if found then
        raise exception '%', broken using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
drop trigger attempts_guard on payment_attempts;
create trigger attempts_guard after update on payment_attempts referencing old table as before new table as after
    for each statement execute function guard_attempt_changes();
drop function guard_attempt();

-- An event beyond its payment's counter would leave a gap or stand for no change.
create or replace function guard_event() returns trigger language plpgsql as $$
declare
    broken text;
begin
    select format('event %s of payment %s: beyond the payment''s counter', n.position, n.payment_id) into broken
    from after n join public.payments p on p.merchant_id = n.merchant_id and p.id = n.payment_id
    where n.position > p.event_position
    limit 1;
    if found then
        raise exception '%', broken using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
drop trigger events_guard on payment_events;
create trigger events_guard after insert on payment_events referencing new table as after
    for each statement execute function guard_event();

-- A stored answer is the payment's last word, so there is none before the payment has ended.
create function guard_answers() returns trigger language plpgsql as $$
declare
    broken text;
begin
    select format('a key is answered while payment %s is not final', n.payment_id) into broken
    from after n
    left join before o on o.idempotency_key = n.idempotency_key and o.merchant_id = n.merchant_id
    left join public.payments p on p.merchant_id = n.merchant_id and p.id = n.payment_id
    where n.response_status is not null and o.response_status is null and p.finalized_at is null
    limit 1;
    if found then
        raise exception '%', broken using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
drop trigger keys_answered on idempotency_keys;
create trigger keys_answered after update on idempotency_keys referencing old table as before new table as after
    for each statement execute function guard_answers();
