-- Payments, attempts, events, interactions, keys: the book, and what it refuses whoever asks.
--
-- Every key starts with merchant_id. Ids are UUIDv7 made by the application; ids of attempts and events are the
-- payment's id and a number. Times are parameters, never now(). Guards that read other rows are AFTER triggers: at
-- the end of a statement they see all of it, while a BEFORE trigger sees an unpredictable part.

create table merchants (
    id uuid primary key,
    name text not null check (name <> ''),
    -- {"rates": "none"} frees demo and bench merchants from rate limits; sizes stay.
    limits jsonb not null default '{}',
    created_at timestamptz not null
);

create table api_keys (
    key_id text primary key check (key_id ~ '^[0-9A-Za-z]{10}$'),
    merchant_id uuid not null references merchants (id),
    name text not null,
    -- HMAC-SHA256(pepper, token): a dump of this table holds no usable key.
    token_hash bytea not null check (octet_length(token_hash) = 32),
    pepper_version smallint not null,
    last4 text not null,
    scopes text[] not null,
    livemode boolean not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null
);
create index api_keys_merchant on api_keys (merchant_id, key_id);

create table gateway_accounts (
    merchant_id uuid not null references merchants (id),
    id uuid not null,
    gateway text not null check (gateway <> ''),
    name text not null,
    status text not null check (status in ('enabled', 'draining', 'disabled')),
    livemode boolean not null,
    base_url text not null,
    -- Lower is tried first.
    priority integer not null default 100,
    credentials bytea,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (merchant_id, id)
);

-- The allowed changes of status; copies of the tables in paymux_core.transitions, held equal by a test.
-- A null from_status is a birth.
create table payment_transitions (from_status text, to_status text not null, unique nulls not distinct (from_status, to_status));
create table attempt_transitions (from_status text, to_status text not null, unique nulls not distinct (from_status, to_status));

insert into payment_transitions values
    (null, 'requires_confirmation'),
    ('requires_confirmation', 'processing'), ('requires_confirmation', 'canceled'),
    ('processing', 'requires_action'), ('processing', 'requires_capture'),
    ('processing', 'succeeded'), ('processing', 'failed'), ('processing', 'canceled'),
    ('requires_action', 'processing'), ('requires_action', 'requires_capture'),
    ('requires_action', 'succeeded'), ('requires_action', 'failed'), ('requires_action', 'canceled'),
    ('requires_capture', 'processing'),
    ('requires_capture', 'succeeded'), ('requires_capture', 'failed'), ('requires_capture', 'canceled');

insert into attempt_transitions values
    (null, 'started'),
    ('started', 'requires_action'), ('started', 'pending'), ('started', 'authorized'), ('started', 'succeeded'),
    ('started', 'failed'), ('started', 'not_executed'), ('started', 'voided'), ('started', 'unknown'),
    ('unknown', 'pending'), ('unknown', 'requires_action'), ('unknown', 'authorized'), ('unknown', 'succeeded'),
    ('unknown', 'failed'), ('unknown', 'voided'),
    ('pending', 'requires_action'), ('pending', 'authorized'), ('pending', 'succeeded'), ('pending', 'failed'),
    ('pending', 'voided'),
    ('requires_action', 'started'), ('requires_action', 'pending'), ('requires_action', 'authorized'),
    ('requires_action', 'succeeded'), ('requires_action', 'failed'), ('requires_action', 'voided'),
    ('requires_action', 'unknown'),
    ('authorized', 'succeeded'), ('authorized', 'voided'), ('authorized', 'failed');

-- What never changes stands first, then what seldom does, and at the end what every confirm writes: the log of an update
-- holds a row from its first changed byte to its last.
create table payments (
    merchant_id uuid not null references merchants (id),
    id uuid not null,
    amount bigint not null check (amount > 0),
    created_at timestamptz not null,
    currency text not null check (currency ~ '^[a-z]{3}$'),
    currency_exponent smallint not null,
    capture_method text not null check (capture_method in ('automatic', 'manual')),
    livemode boolean not null,
    off_session boolean not null default false,
    reference text check (reference <> ''),
    description text,
    customer_reference text,
    return_url text,
    metadata jsonb not null default '{}',
    amount_refunded bigint not null default 0,
    amount_refund_pending bigint not null default 0,
    amount_capturable bigint not null default 0,
    cancellation_reason text,
    cancellation_requested_at timestamptz,
    next_action jsonb,
    last_error jsonb,
    payment_method jsonb,
    gateway text,
    processing_deadline_at timestamptz,
    status text not null,
    amount_captured bigint not null default 0,
    succeeded_attempt smallint,
    -- Both counters of the event log live here; the event with the last position always exists (guard below).
    event_position integer not null,
    event_sequence integer not null,
    -- The position of the event that ended the payment: its body is the answer that every key of it replays.
    final_position integer,
    version integer not null,
    updated_at timestamptz not null,
    finalized_at timestamptz,
    -- Stored generated, so that an index on it survives HOT updates. A status added later holds its reference.
    reference_held boolean not null generated always as (reference is not null and status not in ('failed', 'canceled')) stored,
    primary key (merchant_id, id),
    -- What waits has a moment at which a person is told.
    constraint payments_waiting_has_deadline
        check (status not in ('processing', 'requires_action') or processing_deadline_at is not null),
    constraint payments_terminal_is_finalized
        check ((status in ('succeeded', 'failed', 'canceled')) = (finalized_at is not null)
               and (finalized_at is null) = (final_position is null)),
    constraint payments_succeeded_has_attempt check ((status = 'succeeded') = (succeeded_attempt is not null)),
    -- A payment is born with its first event, which is public.
    constraint payments_event_counters check (event_sequence between 1 and event_position),
    constraint payments_amounts check (
        amount_captured >= 0 and amount_capturable >= 0 and amount_captured + amount_capturable <= amount
        and (status = 'succeeded') = (amount_captured > 0)
        and amount_refunded >= 0 and amount_refund_pending >= 0
        and amount_refunded + amount_refund_pending <= amount_captured)
) with (fillfactor = 80);

-- One amount to be collected once: at most one payment per reference that is not definitely dead.
create unique index payments_one_per_reference on payments (merchant_id, reference) where reference_held;
create index payments_reference on payments (merchant_id, reference, id) where reference is not null;
create index payments_customer_reference on payments (merchant_id, customer_reference, id) where customer_reference is not null;

create table payment_attempts (
    merchant_id uuid not null,
    payment_id uuid not null,
    number smallint not null check (number >= 1),
    gateway text not null,
    gateway_account_id uuid not null,
    amount bigint not null check (amount > 0),
    currency text not null,
    payment_method jsonb not null,
    return_url text,
    off_session boolean not null default false,
    -- SHA-256 of the first bytes this attempt sends: a re-send has to match it.
    request_digest bytea not null check (octet_length(request_digest) = 32),
    connector_version text not null,
    request_id text not null,
    routing jsonb,
    charge_window_ends_at timestamptz not null,
    created_at timestamptz not null,
    check_count integer not null default 0,
    watch_until timestamptz,
    lease_token uuid,
    lease_expires_at timestamptz,
    was_requires_action boolean not null default false,
    fence_count smallint not null default 0,
    error jsonb,
    provider_payment_id text,
    status text not null,
    reason text,
    -- A request that can take money was sent, or nobody can say that it was not.
    money_requested boolean not null default false,
    last_request_at timestamptz,
    next_check_at timestamptz,
    updated_at timestamptz not null,
    finished_at timestamptz,
    -- Whether this attempt has, or may yet take, the money. A status added later holds.
    holds boolean not null generated always as (status not in ('failed', 'not_executed', 'voided')) stored,
    primary key (merchant_id, payment_id, number),
    foreign key (merchant_id, payment_id) references payments (merchant_id, id),
    foreign key (merchant_id, gateway_account_id) references gateway_accounts (merchant_id, id),
    -- Liveness: nothing is open without a future look.
    constraint attempts_open_has_check
        check (status in ('succeeded', 'failed', 'not_executed', 'voided') or next_check_at is not null),
    constraint attempts_closed_is_finished
        check ((status in ('succeeded', 'failed', 'not_executed', 'voided')) = (finished_at is not null)),
    constraint attempts_lease check ((lease_token is null) = (lease_expires_at is null))
) with (fillfactor = 70);

-- Safety: a second attempt that may hold money cannot even be inserted.
create unique index attempts_one_holding on payment_attempts (merchant_id, payment_id) where holds;
-- The queue of the worker.
create index attempts_due on payment_attempts (next_check_at) where next_check_at is not null;

create table payment_events (
    merchant_id uuid not null,
    payment_id uuid not null,
    position integer not null check (position >= 1),
    -- Numbers the public events only.
    sequence integer check (sequence >= 1),
    type text not null check (type <> ''),
    from_status text,
    to_status text,
    attempt_number smallint,
    actor text not null check (actor <> ''),
    reason text not null check (reason <> ''),
    request_id text,
    -- The object as it then was, byte for byte, packed (bodies.pack_body); null where it is rendered from immutable fields.
    body bytea,
    recorded_at timestamptz not null,
    -- Readers of the whole log go by transaction id: commit order differs from id order.
    xid xid8 not null default pg_current_xact_id(),
    primary key (merchant_id, payment_id, position),
    foreign key (merchant_id, payment_id) references payments (merchant_id, id),
    -- A merchant reads the type, we read the statuses: they say the same, and an event that tells no move names none.
    constraint events_type_tells_move check (
        to_status is not distinct from case type
            when 'payment.created' then 'requires_confirmation'
            when 'payment.processing' then 'processing'
            when 'payment.requires_action' then 'requires_action'
            when 'payment.requires_capture' then 'requires_capture'
            when 'payment.succeeded' then 'succeeded'
            when 'payment.failed' then 'failed'
            when 'payment.canceled' then 'canceled' end
        and (from_status is not null) = (to_status is not null and type <> 'payment.created'))
);

create table gateway_interactions (
    merchant_id uuid not null,
    payment_id uuid not null,
    id uuid not null,
    attempt_number smallint not null,
    event_position integer not null,
    verb text not null,
    method text not null,
    url text not null,
    idempotency_key text,
    request jsonb not null,
    response jsonb not null,
    response_sha256 bytea,
    http_status smallint,
    bytes_sent boolean not null,
    transport_error text,
    gateway_request_id text,
    outcome text not null,
    -- The gateway's object that the answer spoke of: each one under which it took money has to be accounted for.
    provider_payment_id text,
    actor text not null check (actor <> ''),
    request_id text not null,
    sent_at timestamptz not null,
    duration_ms integer not null check (duration_ms >= 0),
    recorded_at timestamptz not null,
    primary key (merchant_id, payment_id, id),
    foreign key (merchant_id, payment_id, attempt_number) references payment_attempts (merchant_id, payment_id, number)
);

create table idempotency_keys (
    merchant_id uuid not null,
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    request_hash bytea not null check (octet_length(request_hash) = 32),
    payment_id uuid not null,
    attempt_number smallint,
    -- The owner's deadline: until then the first request may still answer.
    owned_until timestamptz not null,
    finished_at timestamptz,
    -- The status of a final answer (201 for a create); null: the answer is always rendered from the live object.
    success_status smallint,
    -- Set when the payment is terminal; the body is that of the payment's last public event (payments.final_position).
    response_status smallint,
    expires_at timestamptz not null,
    created_at timestamptz not null,
    primary key (merchant_id, idempotency_key),
    foreign key (merchant_id, payment_id) references payments (merchant_id, id),
    foreign key (merchant_id, payment_id, attempt_number) references payment_attempts (merchant_id, payment_id, number),
    constraint keys_answer_needs_finish check (response_status is null or finished_at is not null),
    constraint keys_answer_is_success
        check (response_status is null or response_status is not distinct from success_status)
) with (fillfactor = 80);
create index idempotency_keys_payment on idempotency_keys (merchant_id, payment_id);
create index idempotency_keys_expiry on idempotency_keys (expires_at);

create table late_charges (
    merchant_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    attempt_number smallint not null,
    gateway text not null,
    provider_payment_id text not null,
    amount bigint not null check (amount > 0),
    currency text not null,
    status text not null check (status in ('open', 'refunded', 'voided', 'accepted')),
    policy text not null check (policy in ('refund', 'void', 'accept_as_new_payment', 'review')),
    next_check_at timestamptz,
    created_at timestamptz not null,
    primary key (merchant_id, id),
    foreign key (merchant_id, payment_id, attempt_number) references payment_attempts (merchant_id, payment_id, number),
    unique (merchant_id, payment_id, attempt_number, provider_payment_id),
    constraint late_charges_open_has_check check (status in ('refunded', 'voided', 'accepted') or next_check_at is not null)
);

create table reviews (
    merchant_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    attempt_number smallint,
    reason text not null check (reason in (
        'deadline', 'integrity_mismatch', 'unmapped_answer', 'request_mismatch', 'late_charge', 'refund_refused',
        'refund_overrun', 'unmatched_webhook', 'handler_failed', 'gateway_configuration', 'reconciliation_difference')),
    status text not null check (status in ('open', 'resolved')),
    opened_at timestamptz not null,
    resolved_at timestamptz,
    resolution text,
    evidence text,
    actor text,
    primary key (merchant_id, id),
    foreign key (merchant_id, payment_id) references payments (merchant_id, id),
    constraint reviews_resolved check ((status = 'resolved') = (resolved_at is not null)
                                       and (status = 'open' or (resolution is not null and actor is not null)))
);
create unique index reviews_one_open_per_reason on reviews (merchant_id, payment_id, reason) where status = 'open';

-- Guards -------------------------------------------------------------------------------------------------------

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is not allowed on %: %', tg_op, tg_table_name, tg_argv[0] using errcode = 'integrity_constraint_violation';
end $$;

-- What a payment is never changes: who, how much, in what, for what.
create trigger payments_immutable after update of merchant_id, id, amount, currency, currency_exponent, livemode, capture_method, reference, created_at
    on payments for each row
    when (row(old.merchant_id, old.id, old.amount, old.currency, old.currency_exponent, old.livemode, old.capture_method, old.reference, old.created_at)
          is distinct from row(new.merchant_id, new.id, new.amount, new.currency, new.currency_exponent, new.livemode, new.capture_method, new.reference, new.created_at))
    execute function refuse_change('identity, money and reference of a payment are fixed at birth');

create function guard_payment() returns trigger language plpgsql as $$
declare
    status_before text;
    position_before integer := 0;
    sequence_before integer := 0;
    moves boolean := true;
    told record;
begin
    if tg_op = 'UPDATE' then
        status_before := old.status;
        position_before := old.event_position;
        sequence_before := old.event_sequence;
        moves := old.status <> new.status;
        if new.version <= old.version then
            raise exception 'payment %: version must grow with every change', new.id using errcode = 'integrity_constraint_violation';
        end if;
        if not moves and old.finalized_at is not null
           and row(old.finalized_at, old.final_position, old.succeeded_attempt, old.amount_captured, old.gateway, old.last_error, old.cancellation_reason)
               is distinct from row(new.finalized_at, new.final_position, new.succeeded_attempt, new.amount_captured, new.gateway, new.last_error, new.cancellation_reason) then
            raise exception 'payment %: how it ended, and the answer that is replayed, do not change', new.id
                using errcode = 'integrity_constraint_violation';
        end if;
        if not moves and new.event_position = position_before and new.event_sequence = sequence_before then
            return null;
        end if;
    end if;
    if status_before is null then
        if not exists (select from public.payment_transitions where from_status is null and to_status = new.status) then
            raise exception 'payment %: not born as %', new.id, new.status using errcode = 'integrity_constraint_violation';
        end if;
    elsif moves then
        if not exists (select from public.payment_transitions where from_status = status_before and to_status = new.status) then
            raise exception 'payment %: no transition from % to %', new.id, status_before, new.status
                using errcode = 'integrity_constraint_violation';
        end if;
        if new.event_position = position_before then
            raise exception 'payment %: a change of status needs its event', new.id using errcode = 'integrity_constraint_violation';
        end if;
    end if;
    -- One query for the events since and the one attempt that holds: this runs twice in a confirm.
    select e.*, a.number as attempt_number, a.status as attempt_status, a.amount as attempt_amount, a.currency as attempt_currency
        into told
        from (select count(*) as events, count(sequence) as public_events, count(to_status) as moves,
                     coalesce(bool_and(sequence = sequence_before + public_number), true) as in_sequence,
                     coalesce(bool_or(to_status = new.status and from_status is not distinct from status_before), false) as says_so,
                     coalesce(bool_or(position = new.final_position and to_status = new.status and sequence is not null
                                      and body is not null), false) as has_answer
              from (select position, sequence, from_status, to_status, body, count(sequence) over (order by position) as public_number
                    from public.payment_events
                    where merchant_id = new.merchant_id and payment_id = new.id
                      and position > position_before and position <= new.event_position) v) e
        left join public.payment_attempts a on a.merchant_id = new.merchant_id and a.payment_id = new.id and a.holds;
    if told.events <> new.event_position - position_before
       or told.public_events <> new.event_sequence - sequence_before or not told.in_sequence then
        raise exception 'payment %: events % to % and sequence % to % are not all there', new.id,
            position_before + 1, new.event_position, sequence_before + 1, new.event_sequence
            using errcode = 'integrity_constraint_violation';
    end if;
    if told.moves <> moves::integer or told.says_so <> moves then
        raise exception 'payment %: its events do not tell the change from % to %, and no other', new.id,
            status_before, new.status using errcode = 'integrity_constraint_violation';
    end if;
    if moves and new.finalized_at is not null and not told.has_answer then
        raise exception 'payment %: the event at final_position does not hold the answer', new.id
            using errcode = 'integrity_constraint_violation';
    end if;
    if not moves then
        return null;
    end if;
    case new.status
        when 'requires_confirmation', 'failed', 'canceled' then
            if told.attempt_number is not null then
                raise exception 'payment %: not % while an attempt holds money or may yet take it', new.id, new.status
                    using errcode = 'integrity_constraint_violation';
            end if;
        when 'succeeded' then
            if row(told.attempt_number, told.attempt_status, told.attempt_amount, told.attempt_currency)
               is distinct from row(new.succeeded_attempt, 'succeeded'::text, new.amount, new.currency) then
                raise exception 'payment %: no succeeded attempt of the same amount and currency', new.id
                    using errcode = 'integrity_constraint_violation';
            end if;
        when 'requires_capture' then
            if told.attempt_status is distinct from 'authorized' then
                raise exception 'payment %: not % without an authorized attempt', new.id, new.status
                    using errcode = 'integrity_constraint_violation';
            end if;
        else
            if told.attempt_number is null or told.attempt_status = 'succeeded' then
                raise exception 'payment %: not % without an open attempt', new.id, new.status
                    using errcode = 'integrity_constraint_violation';
            end if;
    end case;
    return null;
end $$;
create trigger payments_guard_birth after insert on payments for each row execute function guard_payment();
create trigger payments_guard after update on payments
    for each row execute function guard_payment();
create trigger payments_kept before delete on payments for each statement execute function refuse_change('payments are kept');
create trigger payments_not_truncated before truncate on payments for each statement execute function refuse_change('payments are kept');

create trigger attempts_immutable
    after update of merchant_id, payment_id, number, gateway, gateway_account_id, amount, currency, payment_method, return_url, off_session, request_digest, connector_version, created_at
    on payment_attempts for each row
    when (row(old.merchant_id, old.payment_id, old.number, old.gateway, old.gateway_account_id, old.amount, old.currency, old.payment_method, old.return_url, old.off_session, old.request_digest, old.connector_version, old.created_at)
          is distinct from row(new.merchant_id, new.payment_id, new.number, new.gateway, new.gateway_account_id, new.amount, new.currency, new.payment_method, new.return_url, new.off_session, new.request_digest, new.connector_version, new.created_at))
    execute function refuse_change('the intent of an attempt is fixed before its call');

-- What a gateway may have seen, it has seen: otherwise a refusal of a re-send could pass for a refusal of the first.
create trigger attempts_ratchet after update of money_requested, was_requires_action, fence_count on payment_attempts for each row
    when (old.money_requested and not new.money_requested or old.was_requires_action and not new.was_requires_action
          or new.fence_count < old.fence_count)
    execute function refuse_change('what was sent cannot be unsent');

-- How a call ended is evidence: it is written once, and the gateway's id is found by the first one that was committed.
create trigger attempts_written_once after update of reason, error, provider_payment_id, finished_at on payment_attempts for each row
    when (old.provider_payment_id is not null and new.provider_payment_id is distinct from old.provider_payment_id
          or old.finished_at is not null
             and row(old.reason, old.error, old.finished_at) is distinct from row(new.reason, new.error, new.finished_at))
    execute function refuse_change('the gateway''s id of an attempt, and how it was closed, are written once');

create function guard_attempt() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if not exists (select from public.attempt_transitions where from_status is null and to_status = new.status) then
            raise exception 'attempt % of payment %: not born as %', new.number, new.payment_id, new.status
                using errcode = 'integrity_constraint_violation';
        end if;
        if new.number > 1 and not exists (
            select from public.payment_attempts
                where merchant_id = new.merchant_id and payment_id = new.payment_id and number = new.number - 1) then
            raise exception 'attempt % of payment %: numbers have no gaps', new.number, new.payment_id
                using errcode = 'integrity_constraint_violation';
        end if;
        -- Nobody charges a payment that was not confirmed, or has ended, or another amount than was agreed.
        if not exists (
            select from public.payments
                where merchant_id = new.merchant_id and id = new.payment_id and status = 'processing'
                  and amount = new.amount and currency = new.currency) then
            raise exception 'attempt % of payment %: not for a processing payment of its amount and currency', new.number, new.payment_id
                using errcode = 'integrity_constraint_violation';
        end if;
    elsif not exists (select from public.attempt_transitions where from_status = old.status and to_status = new.status) then
        raise exception 'attempt % of payment %: no transition from % to %', new.number, new.payment_id, old.status, new.status
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger attempts_guard_birth after insert on payment_attempts for each row execute function guard_attempt();
create trigger attempts_guard after update of status on payment_attempts for each row
    when (old.status is distinct from new.status) execute function guard_attempt();
create trigger attempts_kept before delete on payment_attempts for each statement execute function refuse_change('attempts are kept');
create trigger attempts_not_truncated before truncate on payment_attempts for each statement execute function refuse_change('attempts are kept');

-- An event beyond its payment's counter would leave a gap or stand for no change.
create function guard_event() returns trigger language plpgsql as $$
begin
    if new.position > (select event_position from public.payments where merchant_id = new.merchant_id and id = new.payment_id) then
        raise exception 'event % of payment %: beyond the payment''s counter', new.position, new.payment_id
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger events_guard after insert on payment_events for each row execute function guard_event();
create trigger events_append_only before update or delete on payment_events for each statement execute function refuse_change('events are append-only');
create trigger events_not_truncated before truncate on payment_events for each statement execute function refuse_change('events are append-only');
create trigger interactions_append_only before update or delete on gateway_interactions for each statement execute function refuse_change('interactions are append-only');
create trigger interactions_not_truncated before truncate on gateway_interactions for each statement execute function refuse_change('interactions are append-only');

-- In the WHEN clause, so that the happy path calls no function.
create trigger keys_guard after update on idempotency_keys for each row
    when (row(old.merchant_id, old.idempotency_key, old.request_hash, old.payment_id, old.success_status, old.created_at)
              is distinct from row(new.merchant_id, new.idempotency_key, new.request_hash, new.payment_id, new.success_status, new.created_at)
          -- a next attempt takes an open key over; a finished one stays where it is
          or (old.finished_at is not null and new.attempt_number is distinct from old.attempt_number)
          or (old.finished_at is not null and new.finished_at is distinct from old.finished_at)
          or (old.response_status is not null and new.response_status is distinct from old.response_status)
          or new.expires_at < old.expires_at)
    execute function refuse_change('what a key claimed or answered does not change');

-- A stored answer is the payment's last word, so there is none before the payment has ended.
create function guard_answer() returns trigger language plpgsql as $$
begin
    if not exists (select from public.payments
                   where merchant_id = new.merchant_id and id = new.payment_id and finalized_at is not null) then
        raise exception 'a key is answered while payment % is not final', new.payment_id using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;
create trigger keys_born_answered after insert on idempotency_keys for each row
    when (new.response_status is not null) execute function guard_answer();
create trigger keys_answered after update of response_status on idempotency_keys for each row
    when (old.response_status is null and new.response_status is not null) execute function guard_answer();
create trigger keys_not_truncated before truncate on idempotency_keys for each statement execute function refuse_change('keys expire one by one');

create trigger late_charges_immutable
    after update of merchant_id, id, payment_id, attempt_number, gateway, provider_payment_id, amount, currency, created_at
    on late_charges for each row
    when (row(old.merchant_id, old.id, old.payment_id, old.attempt_number, old.gateway, old.provider_payment_id, old.amount, old.currency, old.created_at)
          is distinct from row(new.merchant_id, new.id, new.payment_id, new.attempt_number, new.gateway, new.provider_payment_id, new.amount, new.currency, new.created_at))
    execute function refuse_change('what was charged is a fact');
create trigger late_charges_born_open after insert on late_charges for each row
    when (new.status <> 'open') execute function refuse_change('a late charge is born open');
create trigger late_charges_final after update of status on late_charges for each row
    when (old.status <> 'open' and new.status is distinct from old.status)
    execute function refuse_change('what became of a late charge is final');
create trigger late_charges_kept before delete on late_charges for each statement execute function refuse_change('late charges are kept');
create trigger late_charges_not_truncated before truncate on late_charges for each statement execute function refuse_change('late charges are kept');
create trigger reviews_immutable
    after update of merchant_id, id, payment_id, attempt_number, reason, opened_at on reviews for each row
    when (row(old.merchant_id, old.id, old.payment_id, old.attempt_number, old.reason, old.opened_at)
          is distinct from row(new.merchant_id, new.id, new.payment_id, new.attempt_number, new.reason, new.opened_at))
    execute function refuse_change('what was asked of a person is a fact');
create trigger reviews_born_open after insert on reviews for each row
    when (new.status <> 'open') execute function refuse_change('a review is born open');
create trigger reviews_final after update on reviews for each row
    when (old.status = 'resolved' and old.* is distinct from new.*)
    execute function refuse_change('how a review was resolved, why and by whom is final');
create trigger reviews_kept before delete on reviews for each statement execute function refuse_change('reviews are kept');
create trigger reviews_not_truncated before truncate on reviews for each statement execute function refuse_change('reviews are kept');

-- What the application may do ----------------------------------------------------------------------------------

grant usage on schema public to paymux_app;
grant select on all tables in schema public to paymux_app;
grant insert on merchants, api_keys, gateway_accounts, payments, payment_attempts, payment_events, gateway_interactions,
    idempotency_keys, late_charges, reviews to paymux_app;
grant update (name, limits) on merchants to paymux_app;
grant update (name, scopes, expires_at, last_used_at, revoked_at, token_hash, pepper_version) on api_keys to paymux_app;
grant update (name, status, base_url, priority, credentials, updated_at) on gateway_accounts to paymux_app;
grant update (status, payment_method, return_url, off_session, next_action, last_error, amount_capturable, amount_captured,
    amount_refunded, amount_refund_pending, gateway, succeeded_attempt, processing_deadline_at, cancellation_reason,
    cancellation_requested_at, event_position, event_sequence, final_position, version, updated_at, finalized_at)
    on payments to paymux_app;
grant update (status, reason, provider_payment_id, error, money_requested, was_requires_action, fence_count, check_count,
    last_request_at, next_check_at, watch_until, lease_token, lease_expires_at, updated_at, finished_at)
    on payment_attempts to paymux_app;
grant update (attempt_number, finished_at, response_status, expires_at, owned_until) on idempotency_keys to paymux_app;
grant update (status, next_check_at) on late_charges to paymux_app;
grant update (status, resolved_at, resolution, evidence, actor) on reviews to paymux_app;
