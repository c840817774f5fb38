-- insert_merchant --
-- A merchant is born with its limits.
insert into merchants (id, name, limits, created_at) values ($1, $2, $3::jsonb, $4)

-- list_merchants --
-- All merchants, oldest first.
select id, name, limits, created_at from merchants order by id

-- insert_gateway_account --
-- A merchant's account at a gateway.
insert into gateway_accounts (merchant_id, id, gateway, name, status, livemode, base_url, priority, credentials, created_at, updated_at)
values ($1, $2, $3, $4, 'enabled', $5, $6, $7, $8, $9, $9)

-- move_gateway_account --
-- Point an account at another address (a sandbox that was started on another port).
update gateway_accounts set base_url = $3, updated_at = $4 where merchant_id = $1 and id = $2
returning id

-- set_gateway_account_status --
-- Take an account out of routing, or put it back; what it has begun goes on either way.
update gateway_accounts set status = $3, updated_at = $4 where merchant_id = $1 and id = $2
returning id

-- list_gateway_accounts --
-- A merchant's accounts in the order in which they are tried.
select id, gateway, name, status, livemode, base_url, priority, credentials
from gateway_accounts
where merchant_id = $1
order by merchant_id, priority, id
