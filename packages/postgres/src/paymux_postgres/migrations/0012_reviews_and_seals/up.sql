-- Reviews are resolved by people, keys answer for objects that are no payment, and the log is sealed.

-- Which key resolved a review; `actor` is who said so, in free text.
alter table reviews add column api_key_id text;
grant update (api_key_id) on reviews to paymux_app;
create index reviews_of_payment on reviews (merchant_id, payment_id, id);

-- A key of a request about anything but a payment's own state is born answered, in the commit of what it answers for.
alter table idempotency_keys alter column payment_id drop not null;
alter table idempotency_keys
    -- Packed (bodies.pack_body); a secret that was shown is not in it.
    add column response_body bytea,
    add column response_location text,
    add constraint keys_answer_is_kept check (
        (payment_id is null) = (response_body is not null)
        and (payment_id is not null or (response_status is not null and attempt_number is null))
        and (response_location is null or response_body is not null));

drop trigger keys_guard on idempotency_keys;
-- In the WHEN clause, so that the happy path calls no function.
create trigger keys_guard after update on idempotency_keys for each row
    when (row(old.merchant_id, old.idempotency_key, old.request_hash, old.payment_id, old.success_status, old.response_body,
              old.response_location, old.created_at)
              is distinct from row(new.merchant_id, new.idempotency_key, new.request_hash, new.payment_id, new.success_status,
                                   new.response_body, new.response_location, new.created_at)
          -- a next attempt takes an open key over; a finished one stays where it is
          or (old.finished_at is not null and new.attempt_number is distinct from old.attempt_number)
          or (old.finished_at is not null and new.finished_at is distinct from old.finished_at)
          or (old.response_status is not null and new.response_status is distinct from old.response_status)
          or new.expires_at < old.expires_at)
    execute function refuse_change('what a key claimed or answered does not change');

create or replace function guard_answer() returns trigger language plpgsql as $$
begin
    if new.payment_id is not null and not exists (
        select from public.payments
            where merchant_id = new.merchant_id and id = new.payment_id and finalized_at is not null) then
        raise exception 'a key is answered while payment % is not final', new.payment_id using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;

-- Interactions take their place in the one order of the log, so that they are sealed too. Those from before have none.
alter table gateway_interactions add column epoch smallint not null default 1, add column xid xid8;
alter table gateway_interactions alter column xid set default pg_current_xact_id();
do $$
begin
    execute format('alter table public.gateway_interactions alter column epoch set default %s',
                   (select coalesce(max(epoch), 1) from public.event_epochs));
end $$;
create index gateway_interactions_xid on gateway_interactions using brin ((xid::text::bigint)) with (pages_per_range = 16, autosummarize = on);
revoke insert on gateway_interactions from paymux_app;
grant insert (merchant_id, payment_id, id, attempt_number, event_position, verb, method, url, idempotency_key, request,
    response, response_sha256, http_status, bytes_sent, transport_error, gateway_request_id, outcome, provider_payment_id,
    actor, request_id, sent_at, duration_ms, recorded_at) on gateway_interactions to paymux_app;

-- Hashes over all that was written in a range of transactions, each block with the hash of the one before it: what is
-- changed, removed or slipped in later no longer fits. From `from_xid` (included) to `to_xid` (excluded) of an epoch.
-- Interactions are hashed by themselves: they are not kept for ever, and the chain outlasts them.
create table audit_seals (
    block bigint primary key check (block >= 1),
    -- Which form of the rows was hashed (audit.sql).
    form smallint not null check (form >= 1),
    epoch smallint not null check (epoch >= 1),
    from_xid bigint not null check (from_xid >= 0),
    to_xid bigint not null,
    rows bigint not null check (rows >= 0),
    -- The first eight bytes of each event's digest, in order: they tell which row of a broken block it was.
    marks bytea not null,
    interactions bigint not null check (interactions >= 0),
    interaction_marks bytea not null,
    interactions_hash bytea not null check (octet_length(interactions_hash) = 32),
    prev_hash bytea not null check (octet_length(prev_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    sealed_at timestamptz not null,
    constraint audit_seals_range check (from_xid < to_xid),
    constraint audit_seals_marks check (octet_length(marks) = rows * 8 and octet_length(interaction_marks) = interactions * 8)
);
-- Hashes do not compress.
alter table audit_seals alter column marks set storage external, alter column interaction_marks set storage external;

create function guard_seal() returns trigger language plpgsql as $$
declare
    before public.audit_seals%rowtype;
begin
    select * into before from public.audit_seals where block = new.block - 1;
    if new.block = 1 then
        if new.prev_hash <> decode(repeat('00', 32), 'hex') or new.from_xid <> 0 then
            raise exception 'seal 1: the first block begins the chain' using errcode = 'integrity_constraint_violation';
        end if;
    elsif before.hash is distinct from new.prev_hash
          or not coalesce(new.epoch = before.epoch and new.from_xid = before.to_xid
                          or new.epoch > before.epoch and new.from_xid = 0, false) then
        raise exception 'seal %: it does not go on where the block before it ended', new.block
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger audit_seals_guard after insert on audit_seals for each row execute function guard_seal();
create trigger audit_seals_append_only before update or delete on audit_seals
    for each statement execute function refuse_change('seals are append-only');
create trigger audit_seals_not_truncated before truncate on audit_seals
    for each statement execute function refuse_change('seals are append-only');
grant select, insert on audit_seals to paymux_app;
