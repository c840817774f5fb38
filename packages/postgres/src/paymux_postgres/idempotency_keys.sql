-- read_keys --
-- Read what became of many keys: whose they are, whether they are finished, and the stored answer: that of a terminal
-- payment, or their own where they answer for another object.
select i.ord, k.request_hash, k.payment_id, k.attempt_number, k.finished_at, k.owned_until, k.success_status, k.response_status,
       k.response_location, coalesce(k.response_body, (select e.body from payment_events e
        where k.response_status is not null and e.merchant_id = p.merchant_id and e.payment_id = p.id
          and e.position = p.final_position)) as body
from unnest($1::integer[], $2::uuid[], $3::text[]) as i (ord, merchant_id, idempotency_key)
join idempotency_keys k on k.merchant_id = i.merchant_id and k.idempotency_key = i.idempotency_key
left join payments p on p.merchant_id = k.merchant_id and p.id = k.payment_id

-- find_keys --
-- After a commit whose answer was lost: which of these keys, with these requests, are there?
select i.ord, k.payment_id, k.request_hash
from unnest($1::integer[], $2::uuid[], $3::text[]) as i (ord, merchant_id, idempotency_key)
join idempotency_keys k on k.merchant_id = i.merchant_id and k.idempotency_key = i.idempotency_key

-- insert_answered_key --
-- Keep the answer about an object that is no payment under its key, in the transaction of what it answers for.
-- No conflict clause: a clash undoes that too, and a read tells who was faster.
insert into idempotency_keys (merchant_id, idempotency_key, request_hash, owned_until, finished_at, success_status,
                              response_status, response_body, response_location, expires_at, created_at)
values ($1, $2, $3, $4, $4, $5, $5, $6, $7, $8, $4)
