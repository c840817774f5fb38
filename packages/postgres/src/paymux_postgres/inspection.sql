-- list_standings --
-- Where every payment stands, for whoever holds the tables against a gateway's book. Reads everything: not for a request.
select p.id, p.status, p.version, p.amount, p.currency, p.customer_reference,
       (select min(r.reason) from reviews r
        where r.merchant_id = p.merchant_id and r.payment_id = p.id and r.status = 'open') as open_review
from payments p

-- list_public_events --
-- Every event that merchants are told of, and whether a delivery of it is still to be tried, or is a dead letter.
select e.payment_id, e.sequence,
       exists (select from webhook_deliveries d
               where d.merchant_id = e.merchant_id and d.event_id = e.payment_id and d.position = e.position
                 and d.status <> 'succeeded') as waits
from payment_events e
where e.sequence is not null

-- count_deliveries_due --
-- How many deliveries are due by $1.
select count(*) as due from webhook_deliveries where next_try_at <= $1

-- list_ends_left --
-- What the log tells of a payment's status after it had one of the final ones ($1). On a healthy book: nothing.
select later.payment_id, later.position, ended.to_status as ended_as, later.to_status
from payment_events later
join payment_events ended on ended.merchant_id = later.merchant_id and ended.payment_id = later.payment_id
                         and ended.position < later.position
where later.to_status is not null and ended.to_status = any($1::text[])

-- list_late_first_bytes --
-- Charges that the process which opened their attempt sent more than $1 after it was committed. On a healthy book:
-- nothing. The worker counts from its claim, so its own are left out.
select i.payment_id, i.attempt_number, i.sent_at - a.created_at as after_commit
from gateway_interactions i
join payment_attempts a on a.merchant_id = i.merchant_id and a.payment_id = i.payment_id and a.number = i.attempt_number
where i.verb = 'charge' and i.bytes_sent and i.actor not like 'worker:%' and i.sent_at > a.created_at + $1::interval

-- list_charge_windows --
-- Until when each attempt could be charged.
select payment_id, number, charge_window_ends_at from payment_attempts

-- count_attempts --
-- How many attempts were ever opened: what grows the moment a phase 1 is committed.
select count(*) as attempts from payment_attempts

-- list_violations --
-- What is broken in the whole book, by name.
select v.invariant, v.payment_id, v.detail from inv.all_violations($1) v
