-- What is done once per period, and what is kept for how long.
--
-- Nothing of ours may delete: rows go only inside the functions below, which belong to the owner, have a fixed
-- search_path, and believe no clock but the server's about what is old enough.

-- Schedules ----------------------------------------------------------------------------------------------------

-- A slot is a period of one kind of task. Whoever inserts it runs it; a lease tells the others when he is given up.
create table schedules (
    kind text not null check (kind <> ''),
    slot timestamptz not null,
    started_at timestamptz not null,
    -- Counted when the slot is claimed, so that a task which ends its process counts too.
    tries smallint not null default 1 check (tries >= 1),
    lease_token uuid,
    -- Until then nobody else takes it: the end of a lease, or of a pause after a failure.
    lease_expires_at timestamptz,
    finished_at timestamptz,
    -- What was done, in a few words.
    outcome text,
    -- On any number of workers: once per slot.
    primary key (kind, slot),
    constraint schedules_open_has_lease check ((finished_at is null) = (lease_expires_at is not null)),
    constraint schedules_finished_has_no_token check (finished_at is null or lease_token is null)
);
create index schedules_unfinished on schedules (kind, slot) where finished_at is null;
create trigger schedules_final before update on schedules for each row
    when (old.finished_at is not null or row(old.kind, old.slot, old.started_at) is distinct from row(new.kind, new.slot, new.started_at))
    execute function refuse_change('what ran is a fact');
create trigger schedules_not_truncated before truncate on schedules
    for each statement execute function refuse_change('slots expire one by one');

-- How far a sweep over a merchant's ids has come.
create table sweeps (
    merchant_id uuid not null references merchants (id),
    kind text not null check (kind <> ''),
    swept_through uuid not null,
    updated_at timestamptz not null,
    primary key (merchant_id, kind)
);

-- What a merchant chose. A setting that cannot be read would stop a sweep.
alter table merchants add column if not exists settings jsonb not null default '{}';
alter table merchants add constraint merchants_settings_readable check (
    jsonb_typeof(settings) = 'object'
    and coalesce(settings ->> 'unconfirmed_expires_after_hours', '24') ~ '^[1-9][0-9]{0,3}$');

grant select on schedules, sweeps to paymux_app;
grant insert on schedules, sweeps to paymux_app;
grant update (tries, lease_token, lease_expires_at, finished_at, outcome) on schedules to paymux_app;
grant update (swept_through, updated_at) on sweeps to paymux_app;
grant update (settings) on merchants to paymux_app;

-- Delete keys that expired, at most `batch`, oldest first; answers how many, and how many live longer.
-- A key lives until seven days after its payment ended: one that expired before is given the life it has, so that it does
-- not stand in front of the others. Locks: those keys, skipping what others hold.
create function reap_keys(at timestamptz, batch integer) returns table (deleted integer, prolonged integer)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- Whatever the caller says: nothing goes before its time.
    until timestamptz := least(at, clock_timestamp());
begin
    return query
    with expired as (
        select k.merchant_id, k.idempotency_key, k.payment_id, k.finished_at, k.expires_at from public.idempotency_keys k
        where k.expires_at <= until
        order by k.expires_at
        limit least(batch, 1000)
        for update skip locked
    ),
    judged as (
        select e.merchant_id, e.idempotency_key,
               case when e.payment_id is null then e.expires_at
                    when e.finished_at is null or p.finalized_at is null then until + interval '7 days'
                    else greatest(e.expires_at, p.finalized_at + interval '7 days') end as lives_until
        from expired e left join public.payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
    ),
    gone as (
        delete from public.idempotency_keys k using judged j
        where j.lives_until <= until and k.merchant_id = j.merchant_id and k.idempotency_key = j.idempotency_key
        returning k.merchant_id
    ),
    lives as (
        update public.idempotency_keys k set expires_at = j.lives_until from judged j
        where j.lives_until > until and k.merchant_id = j.merchant_id and k.idempotency_key = j.idempotency_key
        returning k.merchant_id
    )
    select (select count(*) from gone)::integer, (select count(*) from lives)::integer;
end $$;

-- Delete slots of more than seven days ago, but never the last success of a kind. Locks: those slots.
create function reap_slots(at timestamptz, batch integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    until timestamptz := least(at, clock_timestamp()) - interval '7 days';
    deleted integer;
begin
    with old as (
        select s.kind, s.slot from public.schedules s
        where s.slot < until
          and exists (select from public.schedules n where n.kind = s.kind and n.slot > s.slot and n.finished_at is not null)
        order by s.kind, s.slot
        limit least(batch, 1000)
        for update skip locked
    )
    delete from public.schedules s using old o where s.kind = o.kind and s.slot = o.slot;
    get diagnostics deleted = row_count;
    return deleted;
end $$;

-- Partitions by month ------------------------------------------------------------------------------------------

-- The smallest id of a moment: ids are UUIDv7, so that a range of ids is a range of time.
create function first_id_of(at timestamptz) returns uuid language sql immutable as $$
    select (pg_catalog.lpad(pg_catalog.to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || pg_catalog.repeat('0', 20))::uuid
$$;
create function moment_of_id(id uuid) returns timestamptz language sql immutable as $$
    select pg_catalog.to_timestamp(('x' || pg_catalog.substr(pg_catalog.replace(id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)
$$;

-- What was dropped, so that whoever verifies the log knows why it is not there.
create table dropped_partitions (
    parent text not null,
    partition text not null,
    -- Null: from the beginning.
    lower_bound uuid,
    upper_bound uuid not null,
    rows bigint not null check (rows >= 0),
    dropped_at timestamptz not null,
    primary key (parent, upper_bound)
);
create trigger dropped_partitions_append_only before update or delete on dropped_partitions
    for each statement execute function refuse_change('what was dropped is a fact');
create trigger dropped_partitions_not_truncated before truncate on dropped_partitions
    for each statement execute function refuse_change('what was dropped is a fact');
grant select on dropped_partitions to paymux_app;

-- Interactions: the table so far becomes the partition of everything before next month.
alter table gateway_interactions rename to gateway_interactions_before;
alter table gateway_interactions_before rename constraint gateway_interactions_pkey to gateway_interactions_before_pkey;
create table gateway_interactions
    (like gateway_interactions_before including defaults including constraints including generated including storage)
    partition by range (id);
alter table gateway_interactions add constraint gateway_interactions_pkey primary key (merchant_id, payment_id, id);
alter table gateway_interactions add constraint gateway_interactions_merchant_id_payment_id_attempt_number_fkey
    foreign key (merchant_id, payment_id, attempt_number)
    references payment_attempts (merchant_id, payment_id, number);
-- Its indexes and grants, whichever there are: the parent takes over their names, and the partition's attach to them.
do $$
declare
    newest timestamptz := greatest(clock_timestamp(),
                                   (select moment_of_id(id) from gateway_interactions_before order by id desc limit 1));
    bound uuid := first_id_of((date_trunc('month', newest at time zone 'utc') + interval '1 month') at time zone 'utc');
    taken record;
begin
    for taken in
        select c.relname as name, pg_get_indexdef(i.indexrelid) as definition
        from pg_index i join pg_class c on c.oid = i.indexrelid
        where i.indrelid = 'gateway_interactions_before'::regclass and not i.indisprimary
    loop
        execute format('alter index %I rename to %I', taken.name, taken.name || '_before');
        execute replace(taken.definition, 'gateway_interactions_before', 'gateway_interactions');
    end loop;
    for taken in
        select format('grant %s on gateway_interactions to %s', a.privilege_type, a.grantee::regrole) as sql
        from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'gateway_interactions_before'::regclass and a.grantee <> c.relowner
        union all
        select format('grant %s (%I) on gateway_interactions to %s', a.privilege_type, t.attname, a.grantee::regrole)
        from pg_attribute t, aclexplode(t.attacl) a
        where t.attrelid = 'gateway_interactions_before'::regclass and t.attnum > 0 and not t.attisdropped
    loop
        execute taken.sql;
    end loop;
    -- Partitions are reached through their parent only.
    revoke all on gateway_interactions_before from paymux_app;
    execute format('alter table gateway_interactions attach partition gateway_interactions_before for values from (minvalue) to (%L)', bound);
end $$;
-- Nothing is ever refused for want of a partition: what no month holds lies here.
create table gateway_interactions_default partition of gateway_interactions default;
-- On the rows, so that each partition has it, and on the statement, which also speaks where no row is.
create trigger interactions_append_only before update or delete on gateway_interactions
    for each statement execute function refuse_change('interactions are append-only');
create trigger interactions_not_truncated before truncate on gateway_interactions
    for each statement execute function refuse_change('interactions are append-only');
create trigger interactions_append_only before update or delete on gateway_interactions_default
    for each statement execute function refuse_change('interactions are append-only');
create trigger interactions_not_truncated before truncate on gateway_interactions_default
    for each statement execute function refuse_change('interactions are append-only');
create trigger interactions_rows_append_only before update or delete on gateway_interactions
    for each row execute function refuse_change('interactions are append-only');

-- The tables that are partitioned by month, those that there are.
create function monthly_tables() returns setof text language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.relname::text from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'p'
      and c.relname in ('gateway_interactions', 'inbound_webhooks', 'delivery_tries')
$$;

-- The partitions of one of them, with their bounds; the default one has none.
create function monthly_partitions(parent text)
    returns table (partition regclass, name text, lower_bound uuid, upper_bound uuid, is_default boolean)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.oid::regclass, c.relname::text, substring(b.bound from $re$FROM \('([0-9a-f-]{36})'\)$re$)::uuid,
           substring(b.bound from $re$TO \('([0-9a-f-]{36})'\)$re$)::uuid, b.bound = 'DEFAULT'
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
    where i.inhparent = (select t.oid from pg_class t where t.relnamespace = 'public'::regnamespace and t.relname = parent)
$$;

-- Make the partitions of `parent` for the month of `at` and the `months` after it; answers what was made.
-- A month of which the default partition holds rows stays there. What guards the parent as a whole guards each partition.
-- Locks: for a moment payment_attempts against writers, and the default partition.
create function make_partitions(parent text, at timestamptz, months integer) returns setof text
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    begins timestamptz := date_trunc('month', at at time zone 'utc') at time zone 'utc';
    made_until uuid;
    beside regclass;
    lower_id uuid;
    upper_id uuid;
    name text;
    strays boolean := false;
    guard text;
begin
    if parent not in (select public.monthly_tables()) or months not between 0 and 24 then
        raise exception 'no partitions of % for % months', parent, months using errcode = 'invalid_parameter_value';
    end if;
    select p.upper_bound into made_until from public.monthly_partitions(parent) p where not p.is_default order by p.upper_bound desc nulls last limit 1;
    select p.partition into beside from public.monthly_partitions(parent) p where p.is_default;
    for month in 0..months loop
        lower_id := public.first_id_of((begins at time zone 'utc' + make_interval(months => month)) at time zone 'utc');
        upper_id := public.first_id_of((begins at time zone 'utc' + make_interval(months => month + 1)) at time zone 'utc');
        continue when lower_id < made_until;
        if beside is not null then
            execute format('select exists (select from %s where id >= %L and id < %L)', beside, lower_id, upper_id) into strays;
            continue when strays;
        end if;
        name := parent || to_char((begins at time zone 'utc') + make_interval(months => month), '"_y"YYYY"m"MM');
        -- Attached and not made as a partition: that would lock the parent against everybody.
        execute format('create table public.%I (like public.%I including defaults including constraints including generated including storage)', name, parent);
        execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)', parent, name, lower_id, upper_id);
        for guard in
            select replace(pg_get_triggerdef(t.oid), format(' ON public.%I ', parent), format(' ON public.%I ', name))
            from pg_trigger t
            where t.tgrelid = format('public.%I', parent)::regclass and not t.tgisinternal
              and t.tgtype & 1 = 0 and t.tgtype & (8 | 16 | 32) <> 0 and t.tgtype & 4 = 0
        loop
            execute guard;
        end loop;
        return next name;
    end loop;
end $$;

-- Drop the partitions of `parent` whose last row is more than `months` months old, and write down what they were.
-- Three months at least, whatever the caller says: an open question may need its interactions.
-- Locks: the parent, for the moment of the drop.
create function drop_partitions(parent text, at timestamptz, months integer)
    returns table (partition text, rows bigint)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    oldest_kept uuid := public.first_id_of(
        (date_trunc('month', least(at, clock_timestamp()) at time zone 'utc') - make_interval(months => greatest(months, 3))) at time zone 'utc');
    aged record;
    held bigint;
begin
    if parent not in (select public.monthly_tables()) then
        raise exception 'no partitions of %', parent using errcode = 'invalid_parameter_value';
    end if;
    for aged in
        select * from public.monthly_partitions(parent) p where p.upper_bound <= oldest_kept order by p.upper_bound
    loop
        execute format('select count(*) from %s', aged.partition) into held;
        insert into public.dropped_partitions (parent, partition, lower_bound, upper_bound, rows, dropped_at)
        values (drop_partitions.parent, aged.name, aged.lower_bound, aged.upper_bound, held, drop_partitions.at);
        partition := aged.name;
        rows := held;
        execute format('drop table %s', aged.partition);
        return next;
    end loop;
end $$;

-- Whether months are made ahead, and whether the default partition holds what none was made for.
create function monthly_state() returns table (parent text, made_until timestamptz, strays boolean)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    beside regclass;
begin
    for parent in select public.monthly_tables() loop
        select public.moment_of_id(p.upper_bound) into made_until from public.monthly_partitions(parent) p
            where not p.is_default order by p.upper_bound desc nulls last limit 1;
        select p.partition into beside from public.monthly_partitions(parent) p where p.is_default;
        strays := false;
        if beside is not null then
            execute format('select exists (select from %s)', beside) into strays;
        end if;
        return next;
    end loop;
end $$;

revoke execute on function reap_keys, reap_slots, make_partitions, drop_partitions, monthly_state from public;
grant execute on function reap_keys, reap_slots, make_partitions, drop_partitions, monthly_state, monthly_tables to paymux_app;

-- What was dropped leaves no trace of a request behind, and is no violation.
create or replace function inv.attempt_silent(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select a.merchant_id, a.payment_id, 'attempt ' || a.number || ' is ' || a.status || ' since ' || a.created_at || ' without an interaction'
    from public.payment_attempts a
    where a.status in ('started', 'pending', 'unknown', 'requires_action', 'authorized')
      and a.created_at < at - interval '15 minutes'
      and not exists (select from public.gateway_interactions i
                      where i.merchant_id = a.merchant_id and i.payment_id = a.payment_id and i.attempt_number = a.number)
      and not exists (select from public.dropped_partitions d
                      where d.parent = 'gateway_interactions' and d.upper_bound > a.payment_id)
$$;

-- Whether the book holds -----------------------------------------------------------------------------------------

-- What is asked of the book: every function of this schema that takes a moment. A further one is asked by itself.
create function inv.names() returns setof text language sql stable set search_path = pg_catalog, pg_temp as $$
    select p.proname::text from pg_proc p
    where p.pronamespace = 'inv'::regnamespace and p.proname <> 'all_violations'
      and p.pronargs = 1 and p.proargtypes[0] = 'timestamptz'::regtype
    order by p.proname
$$;

create or replace function inv.all_violations(at timestamptz)
returns table (invariant text, merchant_id uuid, payment_id uuid, detail text) language plpgsql stable as $$
declare
    name text;
begin
    for name in select inv.names() loop
        return query execute format('select %L::text, v.merchant_id, v.payment_id, v.detail from inv.%I($1) v', name, name) using at;
    end loop;
end $$;

-- What breaks one invariant among payments born since an id, and among older ones that somebody still asks about.
-- By merchant and id, behind a fence for the planner, so that indexes bound the work and the width of the book does not.
create function inv.recent_violations(name text, at timestamptz, born_since uuid, rows_max integer)
returns table (merchant_id uuid, payment_id uuid, detail text) language plpgsql stable as $$
begin
    if name not in (select inv.names()) then
        raise exception 'there is no invariant %', name using errcode = 'invalid_parameter_value';
    end if;
    return query execute format($q$
        select v.merchant_id, v.payment_id, v.detail
        from public.merchants m
        cross join lateral (select * from inv.%1$I($1) i where i.merchant_id = m.id and i.payment_id >= $2 offset 0) v
        union
        select v.merchant_id, v.payment_id, v.detail
        from (select distinct a.merchant_id, a.payment_id from public.payment_attempts a
              where a.next_check_at is not null and a.payment_id < $2) o
        cross join lateral (select * from inv.%1$I($1) i
                            where i.merchant_id = o.merchant_id and i.payment_id = o.payment_id offset 0) v
        limit $3 $q$, name) using at, born_since, rows_max;
end $$;

-- The same as before, asked payment by payment, so that whoever asks about a few reads the events of a few.
create or replace function inv.events_disagree(at timestamptz)
returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
    select p.merchant_id, p.id,
           p.status || ' at position ' || p.event_position || ', sequence ' || p.event_sequence || '; events: '
           || coalesce(e.last_status, '(none)') || ', ' || e.events || ' to ' || coalesce(e.last_position, 0)
           || ', ' || e.public_events || ' to ' || coalesce(e.last_sequence, 0)
    from public.payments p
    left join lateral (
        select count(*) as events, max(v.position) as last_position,
               count(distinct v.sequence) as public_events, max(v.sequence) as last_sequence,
               (array_agg(v.to_status order by v.position desc) filter (where v.to_status is not null))[1] as last_status,
               max(v.position) filter (where v.body is not null and v.sequence is not null and v.to_status is not null) as answer
        from public.payment_events v where v.merchant_id = p.merchant_id and v.payment_id = p.id
    ) e on true
    where e.events is distinct from p.event_position or e.last_position is distinct from p.event_position
       or e.public_events is distinct from p.event_sequence or e.last_sequence is distinct from p.event_sequence
       or e.last_status is distinct from p.status
       or (p.final_position is not null and e.answer is distinct from p.final_position)
$$;
