"""Attacks on what the gateways sent, on what tells the same event apart, and on where it was applied."""

from tests.guarantees.attack import Attack

WEBHOOK_ID = "'00000000-0000-7000-8000-00000000000a'"
TABLES = ("inbound_webhooks", "inbound_webhook_keys", "inbound_webhook_work")


def webhook(**columns: str) -> str:
    """Write the insert of a webhook as it came."""
    row = {
        "merchant_id": ":m",
        "id": WEBHOOK_ID,
        "gateway_account_id": ":a",
        "gateway": "'mock'",
        "body": "'{}'",
        "body_bytes": "2",
        "body_sha256": "decode(repeat('00', 32), 'hex')",
        "headers": "'{}'",
        "event_id": "'evt_1'",
        "event_id_signed": "true",
        "type": "'charge.succeeded'",
        "received_at": ":t",
    } | columns
    return f"insert into inbound_webhooks ({', '.join(row)}) values ({', '.join(row.values())})"


def webhook_key(**columns: str) -> str:
    """Write the insert of what tells an event apart."""
    row = {"merchant_id": ":m", "gateway_account_id": ":a", "kind": "'event_id'", "value": "'evt_1'"}
    row |= {"webhook_id": WEBHOOK_ID} | columns
    return f"insert into inbound_webhook_keys ({', '.join(row)}) values ({', '.join(row.values())})"


def webhook_work(**columns: str) -> str:
    """Write the insert of the work on a webhook."""
    row = {"merchant_id": ":m", "webhook_id": WEBHOOK_ID, "gateway_account_id": ":a", "received_at": ":t"}
    row |= {"status": "'pending'", "next_try_at": ":t"} | columns
    return f"insert into inbound_webhook_work ({', '.join(row)}) values ({', '.join(row.values())})"


APPLIED = (
    "update inbound_webhook_work set status = 'applied', result = 'succeeded', payment_id = :p, attempt_number = 1, "
    "event_position = 1, next_try_at = null, finished_at = :t"
)


def account_review(**columns: str) -> str:
    """Write the insert of a review about an account."""
    row = {"merchant_id": ":m", "id": "gen_random_uuid()", "gateway_account_id": ":a"}
    row |= {"reason": "'gateway_configuration'", "status": "'open'", "opened_at": ":t"} | columns
    return f"insert into reviews ({', '.join(row)}) values ({', '.join(row.values())})"


WEBHOOK_STEPS = {
    "webhook": [webhook(), webhook_key(), webhook_work()],
    "webhook applied": [webhook(), webhook_key(), webhook_work(), APPLIED],
    "webhook review": [account_review(gateway_account_id="null", webhook_id=WEBHOOK_ID)],
    "account review": [account_review()],
}


def _kept(item: str, table: str, guards: tuple[str, str, str], change: str) -> list[Attack]:
    return [
        Attack(6, f"{item} is rewritten", "webhook", (guards[0],), f"update {table} set {change}"),
        Attack(6, f"{item} is deleted", "webhook", (guards[1],), f"delete from {table}"),
        Attack(6, f"{item} is truncated away", "webhook", (guards[2],), f"truncate {table}"),
    ]


ATTACKS_ON_WEBHOOKS = [
    *_kept(
        "what a gateway sent",
        "inbound_webhooks",
        ("webhooks_append_only", "webhooks_append_only", "webhooks_not_truncated"),
        "body = '{\"forged\": true}'",
    )[:2],
    Attack(
        6,
        "what gateways sent is truncated",
        "webhook",
        ("webhooks_not_truncated", "webhooks_default_not_truncated"),
        "truncate inbound_webhooks",
    ),
    Attack(
        6,
        "a partition of what gateways sent is truncated",
        "webhook",
        ("webhooks_default_not_truncated",),
        "truncate inbound_webhooks_default",
    ),
    *_kept(
        "which event came",
        "inbound_webhook_keys",
        ("webhook_keys_fixed", "webhook_keys_kept", "webhook_keys_not_truncated"),
        "value = 'evt_2'",
    ),
    *_kept(
        "the work on a webhook",
        "inbound_webhook_work",
        ("webhook_work_immutable", "webhook_work_kept", "webhook_work_not_truncated"),
        "received_at = :t + interval '1 day'",
    ),
    Attack(
        4,
        "a webhook waits without a next try",
        "webhook",
        ("webhook_work_pending_has_try",),
        "update inbound_webhook_work set next_try_at = null",
    ),
    Attack(
        2,
        "a webhook is born as applied",
        "born",
        ("webhook_work_born_pending",),
        webhook_work(status="'applied'", next_try_at="null", result="'succeeded'", finished_at=":t"),
    ),
    Attack(
        2,
        "where a webhook was applied is changed",
        "webhook applied",
        ("webhook_work_final",),
        "update inbound_webhook_work set result = 'no_change'",
    ),
    Attack(
        2,
        "an applied webhook is to be applied again",
        "webhook applied",
        ("webhook_work_final",),
        "update inbound_webhook_work set status = 'pending', next_try_at = :t, finished_at = null",
    ),
    Attack(
        2,
        "a webhook ends without a result",
        "webhook",
        ("webhook_work_applied_has_result",),
        "update inbound_webhook_work set status = 'dead', next_try_at = null, finished_at = :t",
    ),
    Attack(
        9,
        "a webhook of another merchant's account",
        "born",
        ("inbound_webhooks_merchant_id_gateway_account_id_fkey",),
        webhook(gateway_account_id=":oa"),
    ),
    Attack(
        9,
        "an event of another merchant's account",
        "born",
        ("inbound_webhook_keys_merchant_id_gateway_account_id_fkey",),
        webhook_key(gateway_account_id=":oa"),
    ),
    Attack(
        9,
        "work on a webhook of another merchant's account",
        "born",
        ("inbound_webhook_work_merchant_id_gateway_account_id_fkey",),
        webhook_work(gateway_account_id=":oa"),
    ),
    Attack(
        9,
        "a webhook applied to another merchant's payment",
        "webhook",
        ("inbound_webhook_work_merchant_id_payment_id_fkey",),
        APPLIED.replace(":p", ":op"),
    ),
    Attack(
        9,
        "a review of another merchant's account",
        "born",
        ("reviews_merchant_id_gateway_account_id_fkey",),
        account_review(gateway_account_id=":oa"),
    ),
    Attack(
        12,
        "the same event twice",
        "webhook",
        ("inbound_webhook_keys_pkey",),
        webhook_key(webhook_id="gen_random_uuid()"),
    ),
    Attack(
        12,
        "half a lease on a webhook",
        "webhook",
        ("webhook_work_lease",),
        "update inbound_webhook_work set lease_token = gen_random_uuid()",
    ),
    Attack(
        10,
        "a webhook whose hash is none",
        "born",
        ("inbound_webhooks_body_sha256_check",),
        webhook(body_sha256="'\\x00'"),
    ),
    Attack(
        10,
        "a webhook that was believed and never read",
        "born",
        ("inbound_webhooks_verified_is_read",),
        webhook(type="null"),
    ),
    Attack(2, "a review about nothing", "born", ("reviews_one_subject",), account_review(gateway_account_id="null")),
    Attack(2, "a review about two things", "born", ("reviews_one_subject",), account_review(payment_id=":p")),
    Attack(
        2,
        "a review turns to another webhook",
        "webhook review",
        ("reviews_immutable",),
        "update reviews set webhook_id = gen_random_uuid()",
    ),
    Attack(
        2,
        "a second open review of one webhook",
        "webhook review",
        ("reviews_one_open_per_webhook",),
        account_review(gateway_account_id="null", webhook_id=WEBHOOK_ID),
    ),
    Attack(
        2, "a second open review of one account", "account review", ("reviews_one_open_per_account",), account_review()
    ),
]
