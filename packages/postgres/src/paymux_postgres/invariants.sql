-- recent_violations --
-- What is broken among payments born since $2 and among those that somebody still asks about, at most $3 rows.
-- Locks: none.
select v.invariant, v.merchant_id, v.payment_id, v.detail
from inv.all_violations($1) v
where v.payment_id >= $2
   or exists (select from payment_attempts a
              where a.merchant_id = v.merchant_id and a.payment_id = v.payment_id and a.next_check_at is not null)
order by v.invariant, v.merchant_id, v.payment_id
limit $3
