"""Attacks on what an attempt, a payment, a late charge or a review is and how it ended: refusals 1 to 3."""

from tests.guarantees.attack import Attack
from tests.guarantees.attack_sql import attempt, change, late_charge, review, update

SUCCEED = (
    "status = 'succeeded', succeeded_attempt = 1, amount_captured = 1000, "
    "finalized_at = :t, final_position = event_position + 1"
)
MERGE = (
    "merge into payments p using (values (:m, :p)) s (m, i) on p.merchant_id = s.m and p.id = s.i when matched then "
    "update set status = 'succeeded', succeeded_attempt = 1, amount_captured = 1000, finalized_at = :t, "
    "final_position = 1, version = version + 1"
)
REOPEN_CHARGE = "update late_charges set status = 'open', next_check_at = :t"

ATTACKS_ON_ENDS = [
    Attack(1, "a second attempt beside a holding one", "confirmed", ("attempts_one_holding",), attempt()),
    Attack(
        1,
        "a closed attempt holds again",
        "second attempt",
        ("attempts_guard", "attempts_one_holding", "attempts_written_once"),
        "update payment_attempts set status = 'started', finished_at = null, next_check_at = :t "
        "where merchant_id = :m and payment_id = :p and number = 1",
    ),
    Attack(
        2,
        "the answer of a terminal payment changes",
        "succeeded",
        ("payments_guard",),
        update("final_position = 1"),
    ),
    Attack(
        2,
        "an old version overwrites a newer one",
        "confirmed",
        ("payments_guard",),
        "update payments set gateway = 'x', version = version where merchant_id = :m and id = :p",
    ),
    *(
        Attack(2, f"a terminal payment changes its {name}", "succeeded", ("payments_guard",), update(sets))
        for name, sets in {
            "captured amount": "amount_captured = 1",
            "gateway": "gateway = 'another'",
            "last error": "last_error = '{}'",
            "cancellation reason": "cancellation_reason = 'duplicate'",
        }.items()
    ),
    *(
        Attack(
            2,
            f"a closed attempt changes its {name}",
            "failed attempt",
            ("attempts_written_once",),
            f"update payment_attempts set {sets} where merchant_id = :m and payment_id = :p",
        )
        for name, sets in {
            "error": "error = '{}'",
            "reason": "reason = 'another'",
            "end": "finished_at = :t + interval '1 day'",
        }.items()
    ),
    Attack(2, "a late charge is refunded, then open", "late charge refunded", ("late_charges_final",), REOPEN_CHARGE),
    Attack(
        2,
        "a late charge is refunded, then accepted",
        "late charge refunded",
        ("late_charges_final",),
        "update late_charges set status = 'accepted'",
    ),
    Attack(
        2,
        "a late charge is settled at birth",
        "confirmed",
        ("late_charges_born_open",),
        late_charge(status="'refunded'"),
    ),
    Attack(
        2,
        "a resolved review is rewritten",
        "resolved review",
        ("reviews_final",),
        "update reviews set evidence = 'forged', actor = 'bob', resolution = 'mark_succeeded'",
    ),
    Attack(
        2,
        "a resolved review is opened again",
        "resolved review",
        ("reviews_final",),
        "update reviews set status = 'open', resolved_at = null",
    ),
    Attack(
        2,
        "a review is resolved at birth",
        "born",
        ("reviews_born_open",),
        review(status="'resolved'", resolved_at=":t", resolution="'mark_failed'", actor="'ann'"),
    ),
    Attack(
        2,
        "a review is about something else",
        "review",
        ("reviews_immutable",),
        "update reviews set reason = 'late_charge'",
    ),
    Attack(3, "success without an attempt", "born", ("payments_guard",), change("requires_confirmation", SUCCEED)),
    Attack(3, "success without an attempt, by MERGE", "born", ("payments_guard",), MERGE),
    Attack(
        3,
        "an attempt of a payment that nobody confirmed",
        "born",
        ("attempts_guard_birth",),
        attempt(number="1"),
    ),
    Attack(3, "a further attempt of a failed payment", "failed", ("attempts_guard_birth",), attempt()),
    Attack(3, "an attempt of another amount", "failed attempt", ("attempts_guard_birth",), attempt(amount="999")),
    Attack(3, "an attempt of another currency", "failed attempt", ("attempts_guard_birth",), attempt(currency="'eur'")),
    Attack(
        3,
        "a payment is processing without an attempt",
        "born",
        ("payments_guard",),
        change("requires_confirmation", "status = 'processing', processing_deadline_at = :t"),
    ),
    Attack(
        3,
        "a payment waits for its capture without an authorisation",
        "confirmed",
        ("payments_guard",),
        change("processing", "status = 'requires_capture', amount_capturable = 1000"),
    ),
    Attack(
        3,
        "an attempt takes another id of the gateway",
        "succeeded",
        ("attempts_written_once",),
        "update payment_attempts set provider_payment_id = 'ch_other'",
    ),
    Attack(
        3,
        "an attempt forgets the gateway's id",
        "succeeded",
        ("attempts_written_once",),
        "update payment_attempts set provider_payment_id = null",
    ),
    Attack(
        6,
        "a fence is counted twice",
        "confirmed",
        ("attempts_ratchet",),
        "update payment_attempts set fence_count = fence_count + 2 where merchant_id = :m and payment_id = :p",
    ),
    Attack(
        6,
        "checks are skipped",
        "confirmed",
        ("attempts_checks_counted",),
        "update payment_attempts set check_count = check_count + 2 where merchant_id = :m and payment_id = :p",
    ),
    Attack(
        6,
        "checks are forgotten",
        "checked often",
        ("attempts_checks_counted",),
        "update payment_attempts set check_count = 0 where merchant_id = :m and payment_id = :p",
    ),
    Attack(3, "success while the attempt is open", "confirmed", ("payments_guard",), change("processing", SUCCEED)),
    Attack(3, "success by another amount", "other amount", ("payments_guard",), change("processing", SUCCEED)),
    Attack(3, "success by another currency", "other currency", ("payments_guard",), change("processing", SUCCEED)),
    Attack(
        3,
        "success that names no attempt",
        "attempt succeeded",
        ("payments_guard", "payments_succeeded_has_attempt"),
        change("processing", SUCCEED.replace("succeeded_attempt = 1", "succeeded_attempt = null")),
    ),
    Attack(
        3,
        "failure while an attempt may take the money",
        "confirmed",
        ("payments_guard",),
        change("processing", "status = 'failed', finalized_at = :t, final_position = event_position + 1"),
    ),
    Attack(
        3,
        "the accepted attempt changes its amount",
        "succeeded",
        ("attempts_immutable",),
        "update payment_attempts set amount = 1 where merchant_id = :m and payment_id = :p",
    ),
]
