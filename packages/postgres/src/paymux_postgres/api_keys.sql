-- insert_api_key --
-- Store a new key as a keyed hash; the token itself is shown once and kept nowhere.
insert into api_keys (key_id, merchant_id, name, token_hash, pepper_version, last4, scopes, livemode, expires_at, limits,
                      created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11)

-- find_api_key --
-- Read a key by the id inside the token, with its limits: its own, else its merchant's. Confirms are counted per merchant.
select k.key_id, k.merchant_id, k.token_hash, k.pepper_version, k.scopes, k.livemode, k.expires_at, k.revoked_at, k.last4,
       coalesce(coalesce(k.limits ->> 'rates', m.limits ->> 'rates') = 'none', false) as limits_exempt,
       coalesce(k.limits ->> 'requests_per_second', m.limits ->> 'requests_per_second')::integer as requests_per_second,
       (m.limits ->> 'confirms_per_second')::integer as confirms_per_second,
       coalesce(k.limits ->> 'same_key_per_second', m.limits ->> 'same_key_per_second')::integer as same_key_per_second
from api_keys k join merchants m on m.id = k.merchant_id
where k.key_id = $1

-- list_api_keys --
-- List a merchant's keys, oldest first.
select key_id, name, last4, scopes, livemode, expires_at, revoked_at, created_at
from api_keys
where merchant_id = $1
order by merchant_id, key_id

-- revoke_api_key --
-- End a key's life; the first time counts.
update api_keys set revoked_at = coalesce(revoked_at, $3) where merchant_id = $1 and key_id = $2
returning revoked_at

-- live_keys_exist --
-- Whether real money can pass here: then no test clock may run.
select exists (select from api_keys where livemode and revoked_at is null) as live
