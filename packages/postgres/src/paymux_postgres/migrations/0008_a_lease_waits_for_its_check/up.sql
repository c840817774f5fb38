-- Whoever died with a lease after its outcome was recorded left nothing to be done before the next check.
create or replace function inv.lease_stale(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' is leased until ' || a.lease_expires_at
    from public.payment_attempts a
    where a.lease_expires_at < at - interval '10 minutes'
      and (a.next_check_at is null or a.next_check_at < at - interval '10 minutes')
$$;
