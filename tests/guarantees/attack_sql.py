"""Write the statements of attacks: each is legal as it stands, and takes the columns that make it an attack.

`:m` is the merchant, `:p` its payment, `:a` its gateway account, `:t` a moment; `:om :op :oa` are another merchant's.
"""


def attempt(**columns: str) -> str:
    """Write the insert of a payment's second attempt."""
    row = {
        "merchant_id": ":m",
        "payment_id": ":p",
        "number": "2",
        "gateway": "'mock'",
        "gateway_account_id": ":a",
        "status": "'started'",
        "amount": "1000",
        "currency": "'usd'",
        "payment_method": "'{}'",
        "request_digest": "decode(repeat('00', 32), 'hex')",
        "connector_version": "'1'",
        "request_id": "'req'",
        "charge_window_ends_at": ":t",
        "next_check_at": ":t",
        "created_at": ":t",
        "updated_at": ":t",
    } | columns
    return f"insert into payment_attempts ({', '.join(row)}) values ({', '.join(row.values())})"


def key(**columns: str) -> str:
    """Write the insert of a key."""
    row = {
        "merchant_id": ":m",
        "idempotency_key": "'a key'",
        "request_hash": "decode(repeat('00', 32), 'hex')",
        "payment_id": ":p",
        "owned_until": ":t",
        "expires_at": ":t",
        "created_at": ":t",
    } | columns
    return f"insert into idempotency_keys ({', '.join(row)}) values ({', '.join(row.values())})"


def event(position: str, **columns: str) -> str:
    """Write the insert of an event."""
    row = {
        "merchant_id": ":m",
        "payment_id": ":p",
        "position": position,
        "type": "'test.told'",
        "actor": "'test'",
        "reason": "'test'",
        "recorded_at": ":t",
    } | columns
    return f"insert into payment_events ({', '.join(row)}) values ({', '.join(row.values())})"


def late_charge(**columns: str) -> str:
    """Write the insert of a late charge."""
    row = {
        "merchant_id": ":m",
        "id": "gen_random_uuid()",
        "payment_id": ":p",
        "attempt_number": "1",
        "gateway": "'mock'",
        "provider_payment_id": "'ch_1'",
        "amount": "1000",
        "currency": "'usd'",
        "status": "'open'",
        "policy": "'review'",
        "next_check_at": ":t",
        "created_at": ":t",
    } | columns
    return f"insert into late_charges ({', '.join(row)}) values ({', '.join(row.values())})"


def interaction(**columns: str) -> str:
    """Write the insert of an interaction."""
    row = {
        "merchant_id": ":m",
        "payment_id": ":p",
        "id": "gen_random_uuid()",
        "attempt_number": "1",
        "event_position": "1",
        "verb": "'charge'",
        "method": "'POST'",
        "url": "'http://x'",
        "request": "'{}'",
        "response": "'{}'",
        "bytes_sent": "true",
        "outcome": "'captured'",
        "provider_payment_id": "'ch_1'",
        "actor": "'test'",
        "request_id": "'req'",
        "sent_at": ":t",
        "duration_ms": "1",
        "recorded_at": ":t",
    } | columns
    return f"insert into gateway_interactions ({', '.join(row)}) values ({', '.join(row.values())})"


def payment(**columns: str) -> str:
    """Write a payment's birth with its event."""
    row = {
        "merchant_id": ":m",
        "id": "gen_random_uuid()",
        "amount": "1000",
        "currency": "'usd'",
        "currency_exponent": "2",
        "status": "'requires_confirmation'",
        "capture_method": "'automatic'",
        "livemode": "false",
        "event_position": "1",
        "event_sequence": "1",
        "version": "1",
        "created_at": ":t",
        "updated_at": ":t",
    } | columns
    return (
        f"with born as (insert into payments ({', '.join(row)}) values ({', '.join(row.values())}) returning *) "
        "insert into payment_events (merchant_id, payment_id, position, sequence, type, to_status, actor, reason, "
        "recorded_at) select merchant_id, id, 1, 1, 'payment.created', status, 'test', 'test', :t from born"
    )


def change(
    before: str,
    sets: str,
    *,
    position: str = "event_position",
    sequence: str = "event_sequence",
    tells: str = "'payment.' || status, '{before}', status",
) -> str:
    """Write a payment's change with its event; `tells` is its type, and from and to which status it tells."""
    return (
        "with moved as (update payments set event_position = event_position + 1, "
        f"event_sequence = event_sequence + 1, version = version + 1, {sets} "
        "where merchant_id = :m and id = :p returning *) "
        "insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, "
        f"actor, reason, body, recorded_at) select merchant_id, id, {position}, {sequence}, "
        f"{tells.format(before=before)}, 'test', 'test', '{{}}', :t from moved"
    )


def action(sets: str, **columns: str) -> str:
    """Write a payment's change with an event that tells no change of status."""
    return change("", sets, **({"tells": "'test.told', null, null"} | columns))


def review(**columns: str) -> str:
    """Write the insert of a review."""
    row = {
        "merchant_id": ":m",
        "id": "gen_random_uuid()",
        "payment_id": ":p",
        "reason": "'deadline'",
        "status": "'open'",
        "opened_at": ":t",
    } | columns
    return f"insert into reviews ({', '.join(row)}) values ({', '.join(row.values())})"


def update(sets: str) -> str:
    """Write a payment's change without an event."""
    return f"update payments set version = version + 1, {sets} where merchant_id = :m and id = :p"


SLOT = "insert into schedules (kind, slot, started_at, lease_expires_at) values ('a task', :t, :t, :t)"
"""A slot that its runner left."""


def seal(**columns: str) -> str:
    """Write the insert of the first seal."""
    nothing = "sha256('')"
    row = {
        "block": "1",
        "form": "1",
        "epoch": "1",
        "from_xid": "0",
        "to_xid": "10",
        "rows": "0",
        "marks": "''",
        "interactions": "0",
        "interaction_marks": "''",
        "interactions_hash": nothing,
        "prev_hash": "decode(repeat('00', 32), 'hex')",
        "hash": nothing,
        "sealed_at": ":t",
    } | columns
    return f"insert into audit_seals ({', '.join(row)}) values ({', '.join(row.values())})"
