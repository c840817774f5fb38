-- Webhooks from the gateways: what came, byte for byte, in partitions that are never changed; which events came before; and
-- the work on each, which is a queue like the others.

-- A webhook names its account by id alone.
create unique index gateway_accounts_id on gateway_accounts (id);
alter table gateway_accounts add column webhook_secrets bytea;
grant update (webhook_secrets) on gateway_accounts to paymux_app;

-- By the time inside the id, which is a UUIDv7. Refused ones are here too, and have no work.
create table inbound_webhooks (
    merchant_id uuid not null,
    id uuid not null,
    gateway_account_id uuid not null,
    gateway text not null check (gateway <> ''),
    -- The bytes as they came, packed (bodies.pack_body); of a refused one their beginning.
    body bytea not null,
    body_bytes integer not null check (body_bytes between 0 and 65536),
    body_sha256 bytea not null check (octet_length(body_sha256) = 32),
    -- By an allow-list of each gateway: the proof, and what names the event.
    headers jsonb not null,
    event_id text check (length(event_id) between 1 and 255),
    -- Whether the proof covers the event's id; where it does not, the bytes are what is told apart.
    event_id_signed boolean not null,
    type text check (type <> ''),
    event_created_at timestamptz,
    -- Why it is not believed; null: its proof held.
    refusal text check (refusal <> ''),
    received_at timestamptz not null,
    primary key (merchant_id, id),
    foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id),
    constraint inbound_webhooks_verified_is_read check (refusal is not null or type is not null)
) partition by range (id);
create table inbound_webhooks_default partition of inbound_webhooks default;

-- What came before, in one table without partitions: a partition of its own would accept the same event again.
create table inbound_webhook_keys (
    merchant_id uuid not null,
    gateway_account_id uuid not null,
    kind text not null check (kind in ('event_id', 'body_sha256')),
    value text not null check (length(value) between 1 and 255),
    webhook_id uuid not null,
    primary key (merchant_id, gateway_account_id, kind, value),
    foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id)
);

-- What is done about each. Its webhook has no foreign key here: old partitions are dropped, the work stays.
create table inbound_webhook_work (
    merchant_id uuid not null,
    webhook_id uuid not null,
    gateway_account_id uuid not null,
    received_at timestamptz not null,
    status text not null check (status in ('pending', 'applied', 'unmatched', 'dead')),
    tries smallint not null default 0 check (tries >= 0),
    next_try_at timestamptz,
    lease_token uuid,
    lease_expires_at timestamptz,
    -- What it turned out to be about, the last event of that payment's log when it was applied, and what came of it.
    payment_id uuid,
    attempt_number smallint,
    event_position integer,
    result text,
    -- How often the same came again.
    duplicates integer not null default 0,
    finished_at timestamptz,
    primary key (merchant_id, webhook_id),
    foreign key (merchant_id, payment_id) references payments (merchant_id, id),
    foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id),
    -- Liveness: what is not done has its next try.
    constraint webhook_work_pending_has_try
        check ((status = 'pending') = (next_try_at is not null) and (status = 'pending') = (finished_at is null)),
    constraint webhook_work_applied_has_result check (status = 'pending' or result is not null),
    constraint webhook_work_lease check ((lease_token is null) = (lease_expires_at is null))
) with (fillfactor = 70);
-- The queue of the worker.
create index inbound_webhook_work_due on inbound_webhook_work (next_try_at) where next_try_at is not null;
create index inbound_webhook_work_payment on inbound_webhook_work (payment_id) where payment_id is not null;

-- An event that names only the gateway's own id is matched by it. Reserves alone: a confirm's other interactions stay out.
create index gateway_interactions_reserved on gateway_interactions (merchant_id, provider_payment_id) where verb = 'reserve';

-- Reviews about something else than a payment. A webhook's partition may be gone before its review is resolved.
alter table reviews
    alter column payment_id drop not null,
    add column webhook_id uuid,
    add column gateway_account_id uuid,
    add constraint reviews_one_subject check (num_nonnulls(payment_id, webhook_id, gateway_account_id) = 1),
    add foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id),
    add column is_open boolean not null generated always as (status = 'open') stored;
-- Half of all rows, as the planner guesses of a boolean: on an empty table it took one status for so rare that a confirm's
-- plan read all open reviews instead of its payment's.
create index reviews_open on reviews (merchant_id, payment_id) where is_open;
create unique index reviews_one_open_per_webhook on reviews (merchant_id, webhook_id, reason)
    where status = 'open' and webhook_id is not null;
create unique index reviews_one_open_per_account on reviews (merchant_id, gateway_account_id, reason)
    where status = 'open' and gateway_account_id is not null;
drop trigger reviews_immutable on reviews;
create trigger reviews_immutable
    after update of merchant_id, id, payment_id, attempt_number, reason, opened_at, webhook_id, gateway_account_id on reviews for each row
    when (row(old.merchant_id, old.id, old.payment_id, old.attempt_number, old.reason, old.opened_at, old.webhook_id, old.gateway_account_id)
          is distinct from row(new.merchant_id, new.id, new.payment_id, new.attempt_number, new.reason, new.opened_at, new.webhook_id, new.gateway_account_id))
    execute function refuse_change('what was asked of a person is a fact');

-- Guards -------------------------------------------------------------------------------------------------------

-- By row, so that each partition inherits it; truncating has no rows, and a partition that is made needs its own guard.
create trigger webhooks_append_only before update or delete on inbound_webhooks
    for each row execute function refuse_change('what a gateway sent is append-only');
create trigger webhooks_not_truncated before truncate on inbound_webhooks
    for each statement execute function refuse_change('what a gateway sent is append-only');
create trigger webhooks_default_not_truncated before truncate on inbound_webhooks_default
    for each statement execute function refuse_change('what a gateway sent is append-only');
create trigger webhook_keys_fixed before update on inbound_webhook_keys
    for each row execute function refuse_change('which events came is a fact');
create trigger webhook_keys_kept before delete on inbound_webhook_keys
    for each row execute function refuse_change('an event that is forgotten would be taken for a new one');
create trigger webhook_keys_not_truncated before truncate on inbound_webhook_keys
    for each statement execute function refuse_change('an event that is forgotten would be taken for a new one');
create trigger webhook_work_immutable
    after update of merchant_id, webhook_id, gateway_account_id, received_at on inbound_webhook_work for each row
    when (row(old.merchant_id, old.webhook_id, old.gateway_account_id, old.received_at)
          is distinct from row(new.merchant_id, new.webhook_id, new.gateway_account_id, new.received_at))
    execute function refuse_change('which webhook this is about is fixed');
create trigger webhook_work_born_pending after insert on inbound_webhook_work for each row
    when (new.status <> 'pending') execute function refuse_change('the work on a webhook is born pending');
create trigger webhook_work_final after update on inbound_webhook_work for each row
    when (old.status = 'applied'
          and row(old.status, old.result, old.payment_id, old.attempt_number, old.event_position, old.finished_at)
              is distinct from row(new.status, new.result, new.payment_id, new.attempt_number, new.event_position, new.finished_at))
    execute function refuse_change('where a webhook was applied is a fact');
create trigger webhook_work_kept before delete on inbound_webhook_work
    for each row execute function refuse_change('the work on webhooks is kept');
create trigger webhook_work_not_truncated before truncate on inbound_webhook_work
    for each statement execute function refuse_change('the work on webhooks is kept');

-- A gateway told us something, nobody has looked at it for ten minutes, and no person knows. Not a dead letter, which is
-- listed as such. What names no payment is shown under the webhook's own id.
create function inv.webhook_unapplied(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select w.merchant_id, coalesce(w.payment_id, w.webhook_id),
           'webhook ' || w.webhook_id || ' is ' || w.status || ' since ' || w.received_at || ' after ' || w.tries || ' tries'
    from public.inbound_webhook_work w
    where w.status in ('pending', 'unmatched') and w.received_at < at - interval '10 minutes'
      and (w.finished_at is null or w.finished_at < at - interval '10 minutes')
      and not exists (select from public.reviews r where r.merchant_id = w.merchant_id and r.webhook_id = w.webhook_id)
$$;

-- One more among all of them, whichever others there are by now.
do $do$
begin
    execute 'create or replace function inv.all_violations(at timestamptz) '
        'returns table (invariant text, merchant_id uuid, payment_id uuid, detail text) language sql stable as $f$'
        || rtrim((select prosrc from pg_proc where oid = 'inv.all_violations'::regproc), E' \n')
        || E'\n    union all select ''webhook_unapplied'', v.* from inv.webhook_unapplied(at) v\n$f$';
end $do$;

-- What the application may do. Partitions are reached through their parent only.
grant select, insert on inbound_webhooks, inbound_webhook_keys, inbound_webhook_work to paymux_app;
grant update (status, tries, next_try_at, lease_token, lease_expires_at, payment_id, attempt_number, event_position, result,
    duplicates, finished_at) on inbound_webhook_work to paymux_app;
