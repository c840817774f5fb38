-- lease_lookups --
-- Give a process the next parts of a second in which it may ask an account, if they begin soon ($5); each part is nobody
-- else's. A moment that lies far ahead ($6) was written by a clock that was wrong, and counts for nothing.
-- Locks: the account's row here.
insert into lookup_budgets as b (merchant_id, gateway_account_id, given_until)
values ($1, $2, $3::timestamptz + $4::interval)
on conflict (merchant_id, gateway_account_id) do update
set given_until = case when b.given_until > $6 then $3 else greatest(b.given_until, $3) end + $4::interval
where b.given_until <= $5 or b.given_until > $6
returning given_until

-- hold_lookups --
-- Give out no look-ups of an account before $3: its gateway asked for that. Locks: the account's row here.
insert into lookup_budgets as b (merchant_id, gateway_account_id, given_until) values ($1, $2, $3)
on conflict (merchant_id, gateway_account_id) do update set given_until = greatest(b.given_until, $3)

-- crowds --
-- Among the longest overdue checks, find the accounts that have more than $2 of them. Locks: none.
select d.merchant_id, d.gateway_account_id, coalesce(max(b.listing_until) > $1, false) as listed_by_other
from (select merchant_id, gateway_account_id from payment_attempts
      where next_check_at <= $1 and (lease_expires_at is null or lease_expires_at <= $1)
      order by next_check_at limit $3) d
left join lookup_budgets b on b.merchant_id = d.merchant_id and b.gateway_account_id = d.gateway_account_id
group by d.merchant_id, d.gateway_account_id
having count(*) > $2

-- begin_list --
-- Take an account's list for one process until $4, unless another has it now ($3), or it was begun since $5.
-- Locks: the account's row here.
insert into lookup_budgets as b (merchant_id, gateway_account_id, given_until, listing_until, listed_at)
values ($1, $2, $3, $4, $3)
on conflict (merchant_id, gateway_account_id) do update set listing_until = $4, listed_at = $3
where (b.listing_until is null or b.listing_until <= $3) and (b.listed_at is null or b.listed_at <= $5)
returning true

-- end_list --
-- Give an account's list back. Locks: the account's row here.
update lookup_budgets set listing_until = $3 where merchant_id = $1 and gateway_account_id = $2

-- waiting --
-- Read the due attempts of an account that nobody holds, longest overdue first. Locks: none.
select payment_id, number, created_at from payment_attempts
where merchant_id = $1 and gateway_account_id = $2
  and next_check_at <= $3 and (lease_expires_at is null or lease_expires_at <= $3)
order by next_check_at limit $4
