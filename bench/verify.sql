-- count_confirms --
-- Confirms with all their rows: payment, attempt, key with its answer, final event with its body.
select count(*) filter (where p.status = 'succeeded' and a.status = 'succeeded' and k.response_status = 200
                          and k.finished_at is not null and e.body is not null) as whole,
       count(*) filter (where p.status = 'processing' or a.finished_at is null) as stuck,
       (select count(*) from gateway_interactions) as interactions
from payments p
join payment_attempts a on a.merchant_id = p.merchant_id and a.payment_id = p.id
left join idempotency_keys k on k.merchant_id = a.merchant_id and k.payment_id = a.payment_id and k.attempt_number = a.number
left join payment_events e on e.merchant_id = p.merchant_id and e.payment_id = p.id and e.position = p.final_position

-- list_violations --
-- The product's own invariants, over everything.
select * from inv.all_violations(now())
