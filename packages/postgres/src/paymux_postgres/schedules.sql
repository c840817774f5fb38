-- claim_slot --
-- Lease one slot: the oldest that its runner left unfinished, else one of those that are on ($1 kinds, $2 slots) and that
-- nobody began. The insert is the claim: whoever loses it runs nothing. Locks: the slot, skipping what others hold.
with left_over as (
    select s.kind, s.slot from schedules s
    where s.finished_at is null and s.lease_expires_at <= $3 and s.tries < $6 and s.kind = any ($1::text[])
    order by s.slot, s.kind
    limit 1
    for update skip locked
),
taken as (
    update schedules s set lease_token = $4, lease_expires_at = $5, tries = s.tries + 1
    from left_over l where s.kind = l.kind and s.slot = l.slot
    returning s.kind, s.slot, s.tries
),
begun as (
    insert into schedules (kind, slot, started_at, lease_token, lease_expires_at)
    select w.kind, w.slot, $3, $4, $5
    from unnest($1::text[], $2::timestamptz[]) as w (kind, slot)
    where not exists (select from taken)
      and not exists (select from schedules s where s.kind = w.kind and s.slot = w.slot)
    order by w.slot, w.kind
    limit 1
    on conflict (kind, slot) do nothing
    returning kind, slot, tries
)
select kind, slot, tries from taken
union all
select kind, slot, tries from begun

-- hold_slot --
-- Hold on to a lease while a task goes on. Locks: the slot.
update schedules set lease_expires_at = $4
where kind = $1 and slot = $2 and lease_token = $3 and finished_at is null
returning kind

-- finish_slot --
-- Note that a slot is done, unless somebody else has its lease. Locks: the slot.
update schedules set finished_at = $4, outcome = $5, lease_token = null, lease_expires_at = null
where kind = $1 and slot = $2 and lease_token = $3 and finished_at is null
returning kind

-- put_slot_off --
-- Give a slot back: nobody takes it before $4. Locks: the slot.
update schedules set lease_token = null, lease_expires_at = $4, tries = $5
where kind = $1 and slot = $2 and lease_token = $3 and finished_at is null
returning kind
