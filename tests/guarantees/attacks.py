"""What somebody might try in plain SQL, and the guards that refuse it: legal but for the one thing it is named for."""

from dataclasses import dataclass

from tests.guarantees.attack_sql import attempt, change, event, interaction, key, late_charge, payment, update


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt. `item` numbers the refusals of docs/guarantees.md; `stage` is how far the payment was brought.

    `guards`: names of triggers, constraints, unique indexes, or `table.column` for a NOT NULL. Without them it passes.
    """

    item: int
    name: str
    stage: str
    guards: tuple[str, ...]
    sql: str


SUCCEED = (
    "status = 'succeeded', succeeded_attempt = 1, amount_captured = 1000, "
    "finalized_at = :t, final_position = event_position + 1"
)
EVENTS_FKEY = "payment_events_merchant_id_payment_id_fkey"
ATTEMPTS_FKEY = "payment_attempts_merchant_id_payment_id_fkey"
NOT_TRUNCATED = (
    "payments_not_truncated",
    "attempts_not_truncated",
    "events_not_truncated",
    "interactions_not_truncated",
    "keys_not_truncated",
    "late_charges_not_truncated",
    "reviews_not_truncated",
)

ATTACKS = [
    Attack(1, "a second attempt beside a holding one", "confirmed", ("attempts_one_holding",), attempt()),
    Attack(
        1,
        "a closed attempt holds again",
        "second attempt",
        ("attempts_guard", "attempts_one_holding"),
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
    Attack(3, "success without an attempt", "born", ("payments_guard",), change("requires_confirmation", SUCCEED)),
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
    Attack(
        4,
        "an open attempt is born without a check",
        "failed attempt",
        ("attempts_open_has_check",),
        attempt(next_check_at="null"),
    ),
    Attack(
        4,
        "an open attempt loses its check",
        "confirmed",
        ("attempts_open_has_check",),
        "update payment_attempts set next_check_at = null where merchant_id = :m and payment_id = :p",
    ),
    Attack(
        4,
        "a processing payment without a deadline",
        "confirmed",
        ("payments_waiting_has_deadline",),
        update("processing_deadline_at = null"),
    ),
    Attack(
        4,
        "a payment that waits for its customer without a deadline",
        "confirmed",
        ("payments_waiting_has_deadline",),
        change("processing", "status = 'requires_action', processing_deadline_at = null"),
    ),
    Attack(
        4,
        "an open late charge without a check",
        "confirmed",
        ("late_charges_open_has_check",),
        late_charge(next_check_at="null"),
    ),
    Attack(5, "a payment changes its amount", "born", ("payments_immutable",), update("amount = 1")),
    Attack(5, "a payment changes its currency", "born", ("payments_immutable",), update("currency = 'eur'")),
    Attack(5, "a payment changes its id", "born", ("payments_immutable", EVENTS_FKEY), update("id = :op")),
    Attack(
        5, "a payment changes its merchant", "born", ("payments_immutable", EVENTS_FKEY), update("merchant_id = :om")
    ),
    Attack(5, "a payment changes its reference", "born", ("payments_immutable",), update("reference = 'another'")),
    Attack(6, "an event is changed", "born", ("events_append_only",), "update payment_events set reason = 'lie'"),
    Attack(6, "an event is deleted", "born", ("events_append_only",), "delete from payment_events"),
    Attack(6, "events are truncated", "born", ("events_not_truncated",), "truncate payment_events"),
    Attack(
        6,
        "an interaction is changed",
        "succeeded",
        ("interactions_append_only",),
        "update gateway_interactions set outcome = 'lie'",
    ),
    Attack(
        6, "an interaction is deleted", "succeeded", ("interactions_append_only",), "delete from gateway_interactions"
    ),
    Attack(
        6, "interactions are truncated", "succeeded", ("interactions_not_truncated",), "truncate gateway_interactions"
    ),
    Attack(6, "an attempt is deleted", "confirmed", ("attempts_kept",), "delete from payment_attempts"),
    Attack(6, "a payment is deleted", "born", ("payments_kept", EVENTS_FKEY), "delete from payments"),
    Attack(6, "a late charge is deleted", "late charge", ("late_charges_kept",), "delete from late_charges"),
    Attack(6, "a review is deleted", "review", ("reviews_kept",), "delete from reviews"),
    Attack(6, "the whole book is truncated", "succeeded", NOT_TRUNCATED, "truncate payments cascade"),
    Attack(
        6,
        "a late charge changes its amount",
        "late charge",
        ("late_charges_immutable",),
        "update late_charges set amount = 1",
    ),
    Attack(
        6,
        "a sent request is unsent",
        "succeeded",
        ("attempts_ratchet",),
        "update payment_attempts set money_requested = false",
    ),
    Attack(7, "a payment of nothing", "born", ("payments_amount_check",), payment(amount="0")),
    Attack(7, "an attempt of nothing", "failed attempt", ("payment_attempts_amount_check",), attempt(amount="0")),
    Attack(7, "a late charge of nothing", "confirmed", ("late_charges_amount_check",), late_charge(amount="0")),
    Attack(7, "more is captured than authorised", "succeeded", ("payments_amounts",), update("amount_captured = 1001")),
    Attack(
        7, "captured money is still capturable", "succeeded", ("payments_amounts",), update("amount_capturable = 1")
    ),
    Attack(
        7,
        "more is refunded than captured",
        "succeeded",
        ("payments_amounts",),
        update("amount_refunded = 600, amount_refund_pending = 401"),
    ),
    Attack(7, "a negative refund", "succeeded", ("payments_amounts",), update("amount_refunded = -1")),
    Attack(
        8,
        "a second payment holds the reference",
        "born",
        ("payments_one_per_reference",),
        payment(reference="'order 1'"),
    ),
    Attack(
        9,
        "an attempt for another merchant's payment",
        "born",
        (ATTEMPTS_FKEY,),
        attempt(payment_id=":op", number="1"),
    ),
    Attack(
        9,
        "an attempt through another merchant's account",
        "failed attempt",
        ("payment_attempts_merchant_id_gateway_account_id_fkey",),
        attempt(gateway_account_id=":oa"),
    ),
    Attack(9, "an event of another merchant's payment", "born", (EVENTS_FKEY,), event("1", payment_id=":op")),
    Attack(
        9,
        "a key for another merchant's payment",
        "born",
        ("idempotency_keys_merchant_id_payment_id_fkey",),
        key(payment_id=":op"),
    ),
    Attack(
        9,
        "a key for an attempt that does not exist",
        "born",
        ("idempotency_keys_merchant_id_payment_id_attempt_number_fkey",),
        key(attempt_number="1"),
    ),
    Attack(
        9,
        "an interaction of another merchant's payment",
        "confirmed",
        ("gateway_interactions_merchant_id_payment_id_attempt_number_fkey",),
        interaction(payment_id=":op"),
    ),
    Attack(
        9,
        "a late charge of another merchant's payment",
        "confirmed",
        ("late_charges_merchant_id_payment_id_attempt_number_fkey",),
        late_charge(payment_id=":op"),
    ),
    Attack(
        9,
        "a review of another merchant's payment",
        "born",
        ("reviews_merchant_id_payment_id_fkey",),
        "insert into reviews (merchant_id, id, payment_id, reason, status, opened_at) "
        "values (:m, gen_random_uuid(), :op, 'deadline', 'open', :t)",
    ),
    Attack(10, "a key claimed twice", "key", ("idempotency_keys_pkey",), key()),
    Attack(
        10,
        "a hash that is not 32 bytes",
        "born",
        ("idempotency_keys_request_hash_check",),
        key(request_hash="'\\x00'"),
    ),
    Attack(10, "an empty key", "born", ("idempotency_keys_idempotency_key_check",), key(idempotency_key="''")),
    Attack(
        10,
        "an answer on an unfinished key",
        "key",
        ("keys_answer_needs_finish",),
        "update idempotency_keys set response_status = 200",
    ),
    Attack(
        10, "a stored answer changes", "succeeded", ("keys_guard",), "update idempotency_keys set response_status = 500"
    ),
    Attack(
        10,
        "a stored answer is taken back",
        "succeeded",
        ("keys_guard",),
        "update idempotency_keys set response_status = null",
    ),
    Attack(
        10,
        "a key forgets its request",
        "key",
        ("keys_guard",),
        "update idempotency_keys set request_hash = decode(repeat('ff', 32), 'hex')",
    ),
    Attack(11, "an event beyond the counter", "born", ("events_guard",), event("3", sequence="3")),
    Attack(11, "an event's position repeats", "born", ("payment_events_pkey",), event("1")),
    Attack(11, "the counter moves without an event", "born", ("payments_guard",), update("event_position = 2")),
    Attack(
        11,
        "an event leaves a gap",
        "born",
        ("payments_guard", "events_guard"),
        change("requires_confirmation", "gateway = 'x'", position="event_position + 1"),
    ),
    Attack(
        11,
        "a public number repeats",
        "born",
        ("payments_guard",),
        change("requires_confirmation", "gateway = 'x'", sequence="event_sequence - 1"),
    ),
    Attack(
        11,
        "a change of status without its event",
        "born",
        ("payments_guard",),
        update("status = 'processing', processing_deadline_at = :t"),
    ),
    Attack(
        11,
        "an event that tells another change",
        "born",
        ("payments_guard",),
        change("processing", "status = 'processing', processing_deadline_at = :t"),
    ),
    Attack(
        11,
        "a birth without an event",
        "born",
        ("payments_guard_birth", "payments_event_counters"),
        "insert into payments (merchant_id, id, amount, currency, currency_exponent, status, capture_method, livemode, "
        "event_position, event_sequence, version, created_at, updated_at) values (:m, gen_random_uuid(), 1, 'usd', 2, "
        "'requires_confirmation', 'automatic', false, 0, 0, 1, :t, :t)",
    ),
    Attack(11, "an event without an actor", "behind", ("payment_events.actor",), event("2", actor="null")),
    Attack(11, "an event by nobody", "behind", ("payment_events_actor_check",), event("2", actor="''")),
    Attack(11, "an event without a reason", "behind", ("payment_events.reason",), event("2", reason="null")),
    Attack(11, "an event for no reason", "behind", ("payment_events_reason_check",), event("2", reason="''")),
    Attack(
        12,
        "a lease without an end",
        "confirmed",
        ("attempts_lease",),
        "update payment_attempts set lease_token = gen_random_uuid()",
    ),
]
