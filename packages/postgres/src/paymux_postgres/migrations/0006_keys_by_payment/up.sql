-- With merchant_id in front, as in the primary key, a plan made on an empty table took this index for a look-up by key,
-- and read all keys of the merchant for each confirm.
drop index idempotency_keys_payment;
create index idempotency_keys_payment on idempotency_keys (payment_id);
