-- load_payments --
-- Insert payments that wait for their confirm, each with its first event, past no guard of the schema.
with numbered as (
    select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, n
    from generate_series($2::bigint, $3::bigint) n
),
born as (
    insert into payments (merchant_id, id, amount, currency, currency_exponent, status, capture_method, livemode, reference,
                          description, metadata, event_position, event_sequence, version, created_at, updated_at)
    select $1, id, 1999, 'eur', 2, 'requires_confirmation', 'automatic', false, 'order-' || n,
           'Order ' || n || ' of the shop', jsonb_build_object('order', n::text), 1, 1, 1, $4, $4
    from numbered
    returning id
)
insert into payment_events (merchant_id, payment_id, position, sequence, type, to_status, actor, reason, recorded_at)
select $1, id, 1, 1, 'payment.created', 'requires_confirmation', 'bench', 'created', $4 from born
