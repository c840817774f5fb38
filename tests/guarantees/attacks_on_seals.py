"""Attacks on the chain of seals, and on answers about objects that are no payment."""

from tests.guarantees.attack import Attack
from tests.guarantees.attack_sql import key, seal

SECOND = {"block": "2", "from_xid": "10", "to_xid": "20", "prev_hash": "sha256('')"}
ANSWERED = {"payment_id": "null", "finished_at": ":t", "success_status": "200", "response_status": "200"}

ATTACKS_ON_SEALS = [
    Attack(10, "a key is about nothing", "born", ("keys_answer_is_kept",), key(payment_id="null")),
    Attack(10, "a key of no payment without its answer", "born", ("keys_answer_is_kept",), key(**ANSWERED)),
    Attack(
        10,
        "a key of a payment with an answer of its own",
        "born",
        ("keys_answer_is_kept",),
        key(response_body="'answer'"),
    ),
    Attack(
        10,
        "what was answered about an object that is no payment changes",
        "answered key",
        ("keys_guard",),
        "update idempotency_keys set response_body = 'lie'",
    ),
    Attack(13, "a seal is changed", "seal", ("audit_seals_append_only",), "update audit_seals set hash = prev_hash"),
    Attack(13, "a seal is deleted", "seal", ("audit_seals_append_only",), "delete from audit_seals"),
    Attack(13, "seals are truncated", "seal", ("audit_seals_not_truncated",), "truncate audit_seals"),
    Attack(13, "a block stands twice", "seal", ("audit_seals_pkey",), seal()),
    Attack(13, "a block is left out", "seal", ("audit_seals_guard",), seal(**SECOND | {"block": "3"})),
    Attack(13, "transactions are left out", "seal", ("audit_seals_guard",), seal(**SECOND | {"from_xid": "11"})),
    Attack(
        13,
        "a block without the hash of the one before",
        "seal",
        ("audit_seals_guard",),
        seal(**SECOND | {"prev_hash": "sha256('x')"}),
    ),
    Attack(13, "a chain that begins in its middle", "born", ("audit_seals_guard",), seal(from_xid="5")),
    Attack(
        13, "a chain with something before its beginning", "born", ("audit_seals_guard",), seal(prev_hash="sha256('x')")
    ),
    Attack(13, "marks that are not those of its rows", "born", ("audit_seals_marks",), seal(rows="1")),
    Attack(13, "a block of no transactions", "born", ("audit_seals_range",), seal(to_xid="0")),
    Attack(13, "a hash that is none", "born", ("audit_seals_hash_check",), seal(hash="'x'")),
]
