-- invariant_names --
-- Name what can be asked of the book.
select name from inv.names() as name

-- recent_violations --
-- What breaks one invariant ($1) among payments born since $3 and among those that somebody still asks about, at most $4
-- rows. Locks: none.
select v.merchant_id, v.payment_id, v.detail from inv.recent_violations($1, $2, $3, $4) v
order by v.merchant_id, v.payment_id, v.detail

-- violations --
-- What breaks one invariant ($1) in the whole book. Reads all of it: not for a request. Locks: none.
select v.merchant_id, v.payment_id, v.detail from inv.recent_violations($1, $2, '00000000-0000-0000-0000-000000000000', null) v
order by v.merchant_id, v.payment_id, v.detail
