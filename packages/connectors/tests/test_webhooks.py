"""Webhooks: what the vendors' own libraries sign is accepted, what they refuse is refused, and the facts are read."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from razorpay.errors import SignatureVerificationError  # type: ignore[import-untyped]
from razorpay.utility import Utility  # type: ignore[import-untyped]

from paymux_connectors import razorpay_webhooks, sandbox_webhooks, stripe_webhooks
from paymux_core.inbound_webhooks import ReceivedWebhook, WebhookRefusal

SECRET, OTHER = "whsec_of_this_endpoint", "whsec_of_another"
EVENT: dict[str, Any] = {
    "id": "evt_1PgafmB7WZ01zgkW6dKueIc5",
    "object": "event",
    "api_version": "2022-11-15",
    "created": 1_760_000_000,
    "type": "payment_intent.succeeded",
    "livemode": False,
    "data": {
        "object": {"id": "pi_1", "object": "payment_intent", "metadata": {"attempt_id": "att_1"}, "amount": 1999},
    },
}
BODY = json.dumps(EVENT, indent=2).encode()


def clock() -> datetime:
    """Read the library's own clock, which has no other, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def stripe_header(body: bytes = BODY, *, secret: str = SECRET, age_seconds: int = 0) -> str:
    """Sign as Stripe's library does for tests."""
    at = clock() - timedelta(seconds=age_seconds)
    made = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=int(at.timestamp()))
    assert isinstance(made, str)
    return made


def by_stripe(header: str | None, body: bytes = BODY, secret: str = SECRET) -> bool:
    """Say what Stripe's library thinks of it."""
    try:
        stripe.Webhook.construct_event(body, header or "", secret)
    except (ValueError, stripe.SignatureVerificationError):
        return False
    return True


def by_us(header: str | None, body: bytes = BODY, *secrets: str) -> WebhookRefusal | None:
    headers = {} if header is None else {"stripe-signature": header}
    return stripe_webhooks.WEBHOOKS.verify_webhook(ReceivedWebhook(body, headers, clock()), secrets or (SECRET,))


def test_what_stripe_signs_is_accepted_by_both() -> None:
    header = stripe_header()
    assert by_stripe(header)
    assert by_us(header) is None


REFUSED: dict[str, tuple[Callable[[int], str | None], WebhookRefusal]] = {
    "missing": (lambda _now: None, WebhookRefusal.SIGNATURE_MISSING),
    "empty": (lambda _now: "", WebhookRefusal.SIGNATURE_MALFORMED),
    "no time": (lambda _now: "v1=" + "0" * 64, WebhookRefusal.SIGNATURE_MALFORMED),
    "empty time": (lambda _now: "t=,v1=" + "0" * 64, WebhookRefusal.SIGNATURE_MALFORMED),
    "no signature": (lambda now: f"t={now}", WebhookRefusal.SIGNATURE_MALFORMED),
    "empty signature": (lambda now: f"t={now},v1=", WebhookRefusal.SIGNATURE_MALFORMED),
    "zeros": (lambda now: f"t={now},v1={'0' * 64}", WebhookRefusal.SIGNATURE_WRONG),
    "other scheme": (lambda _now: stripe_header().replace("v1=", "v0="), WebhookRefusal.SIGNATURE_MALFORMED),
    "other secret": (lambda _now: stripe_header(secret=OTHER), WebhookRefusal.SIGNATURE_WRONG),
    "old": (lambda _now: stripe_header(age_seconds=330), WebhookRefusal.TIMESTAMP_OUT_OF_TOLERANCE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stripes_library_refuses_is_refused(name: str) -> None:
    make, refusal = REFUSED[name]
    header = make(int(clock().timestamp()))
    assert not by_stripe(header)
    assert by_us(header) is refusal


def test_a_signature_in_other_letters_is_malformed_and_no_error() -> None:
    assert by_us(f"t={int(clock().timestamp())},v1=ü") is WebhookRefusal.SIGNATURE_MALFORMED
    assert by_us(stripe_header() + ",v1=ü") is None


def test_two_times_in_one_header_are_refused_whichever_was_signed() -> None:
    signed = stripe_header()
    assert by_us(f"t=1,{signed}") is WebhookRefusal.SIGNATURE_MALFORMED
    assert by_us(f"{signed},t={int(clock().timestamp()) + 1}") is WebhookRefusal.SIGNATURE_MALFORMED


def test_a_time_of_the_future_is_refused_too_though_the_library_takes_it() -> None:
    assert by_stripe(stripe_header(age_seconds=-310))
    assert by_us(stripe_header(age_seconds=-310)) is WebhookRefusal.TIMESTAMP_OUT_OF_TOLERANCE
    assert by_us(stripe_header(age_seconds=-290)) is None
    assert by_us(stripe_header(age_seconds=290)) is None


def test_the_tolerance_is_300_s_on_either_side() -> None:
    now, body = datetime(2026, 1, 1, tzinfo=UTC), b"{}"
    for off, refused in ((300, False), (301, True), (-300, False), (-301, True)):
        at = int(now.timestamp()) + off
        header = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, timestamp=at)
        received = ReceivedWebhook(body, {"stripe-signature": header}, now)
        assert (stripe_webhooks.WEBHOOKS.verify_webhook(received, (SECRET,)) is not None) is refused


def test_a_signature_is_looked_at_before_its_time() -> None:
    # Otherwise the answer would tell a stranger how our clock stands.
    header = f"t=1,v1={'0' * 64}"
    assert by_us(header) is WebhookRefusal.SIGNATURE_WRONG


def test_while_a_secret_is_rolled_either_signature_and_either_secret_will_do() -> None:
    old, new = stripe_header(secret=OTHER), stripe_header(secret=SECRET)
    both = f"{old},{new.partition(',')[2]}"
    assert by_stripe(both)
    assert by_us(both, BODY, SECRET) is None
    assert by_us(old, BODY, SECRET, OTHER) is None
    assert by_us(old, BODY, SECRET) is WebhookRefusal.SIGNATURE_WRONG


def test_the_same_json_in_other_bytes_is_refused() -> None:
    anew = json.dumps(EVENT).encode()
    assert json.loads(anew) == json.loads(BODY)
    assert not by_stripe(stripe_header(), anew)
    assert by_us(stripe_header(), anew) is WebhookRefusal.SIGNATURE_WRONG


def test_every_flipped_bit_of_body_and_signature_is_refused() -> None:
    header = stripe_header()
    for place in range(len(BODY)):
        flipped = bytes([*BODY[:place], BODY[place] ^ 1, *BODY[place + 1 :]])
        assert by_us(header, flipped) is WebhookRefusal.SIGNATURE_WRONG
    for place in range(header.index("v1=") + 3, len(header)):
        other = "0" if header[place] != "0" else "1"
        assert by_us(header[:place] + other + header[place + 1 :]) is WebhookRefusal.SIGNATURE_WRONG


@given(header=st.text(max_size=300), body=st.binary(max_size=300))
def test_no_header_and_no_body_is_believed_or_raises(header: str, body: bytes) -> None:
    assert by_us(header, body) is not None
    headers = {"x-razorpay-signature": header, "sandbox-signature": header}
    received = ReceivedWebhook(body, headers, clock())
    assert razorpay_webhooks.verify_webhook(received, (SECRET,)) is not None
    for dialect in (sandbox_webhooks.MOCK, sandbox_webhooks.FLAKY):
        assert dialect.verify_webhook(received, (SECRET,)) is not None


# Razorpay --------------------------------------------------------------------------------------------------------

RAZORPAY_BODY = b'{"entity":"event","account_id":"acc_1","event":"payment.captured","payload":{}}'


def by_razorpay(body: bytes, signature: str, secret: str = SECRET) -> bool:
    """Say what Razorpay's library thinks of it."""
    try:
        return bool(Utility(SimpleNamespace()).verify_webhook_signature(body.decode(), signature, secret))
    except SignatureVerificationError:
        return False


def razorpay_signature(body: bytes = RAZORPAY_BODY, secret: str = SECRET) -> str:
    """Find the one signature that Razorpay's library accepts: that of the proof we check, made by Python's own hmac."""
    import hashlib
    import hmac

    made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert by_razorpay(body, made, secret)
    return made


def razorpay_by_us(signature: str | None, body: bytes = RAZORPAY_BODY, *secrets: str) -> WebhookRefusal | None:
    headers = {"x-razorpay-event-id": "evt_unsigned"}
    if signature is not None:
        headers["x-razorpay-signature"] = signature
    return razorpay_webhooks.verify_webhook(ReceivedWebhook(body, headers, clock()), secrets or (SECRET,))


def test_what_razorpays_library_accepts_is_accepted_with_the_old_secret_too() -> None:
    assert razorpay_by_us(razorpay_signature()) is None
    # After a change of the secret Razorpay re-sends under the old one.
    assert razorpay_by_us(razorpay_signature(secret=OTHER), RAZORPAY_BODY, SECRET, OTHER) is None


def test_what_razorpays_library_refuses_is_refused() -> None:
    signature = razorpay_signature()
    spaced = RAZORPAY_BODY.replace(b",", b", ")
    for body, header in [
        (RAZORPAY_BODY, razorpay_signature(secret=OTHER)),
        (spaced, signature),
        (RAZORPAY_BODY[:-1], signature),
        (RAZORPAY_BODY, signature[::-1]),
        (RAZORPAY_BODY, signature.upper()),
        (RAZORPAY_BODY, ""),
    ]:
        assert not by_razorpay(body, header)
        assert razorpay_by_us(header, body) is not None
    assert razorpay_by_us(None) is WebhookRefusal.SIGNATURE_MISSING


# Facts -----------------------------------------------------------------------------------------------------------


def test_the_facts_of_a_payment_intent() -> None:
    facts = stripe_webhooks.WEBHOOKS.parse_webhook(BODY, {})
    assert facts is not None
    assert (facts.type, facts.event_id, facts.event_id_signed) == ("payment_intent.succeeded", EVENT["id"], True)
    assert (facts.attempt_id, facts.provider_payment_id) == ("att_1", "pi_1")
    assert (facts.about_payment, facts.account, facts.livemode) == (True, None, False)
    assert facts.created_at == datetime.fromtimestamp(1_760_000_000, UTC)


@pytest.mark.parametrize(
    ("kind", "about", "tells", "intent"),
    [
        ("charge.succeeded", {"object": "charge", "id": "ch_1", "payment_intent": "pi_2"}, True, "pi_2"),
        ("charge.failed", {"object": "charge", "payment_intent": {"id": "pi_3"}}, True, "pi_3"),
        ("charge.dispute.created", {"object": "dispute", "payment_intent": "pi_4"}, False, "pi_4"),
        ("payment_intent.created", {"object": "payment_intent", "id": "pi_5"}, False, "pi_5"),
        ("a.type.of.tomorrow", {"object": "thing", "id": "th_1"}, False, None),
    ],
)
def test_what_an_event_is_about(kind: str, about: dict[str, Any], tells: Any, intent: str | None) -> None:
    facts = stripe_webhooks.WEBHOOKS.parse_webhook(
        json.dumps({**EVENT, "type": kind, "data": {"object": about}}).encode(), {}
    )
    assert facts is not None
    assert (facts.about_payment, facts.provider_payment_id, facts.attempt_id) == (tells, intent, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"object": "event"}',
        b'{"object": "event", "id": 7, "type": "x"}',
        b'{"object": "event", "id": "evt_1", "type": ""}',
        b'{"object": "event", "id": "' + b"e" * 256 + b'", "type": "x"}',
        b"[" * 60_000,
        b'{"a":' * 30_000,
    ],
    ids=lambda body: body[:20],
)
def test_what_is_no_event_has_no_facts(body: bytes) -> None:
    assert stripe_webhooks.WEBHOOKS.parse_webhook(body, {}) is None
    assert sandbox_webhooks.MOCK.parse_webhook(body, {}) is None or b"type" in body


def test_odd_members_of_an_event_are_left_out() -> None:
    odd = {**EVENT, "created": 10**30, "livemode": "no", "data": [1], "account": "acct_1"}
    facts = stripe_webhooks.WEBHOOKS.parse_webhook(json.dumps(odd).encode(), {})
    assert facts is not None
    assert (facts.created_at, facts.livemode, facts.provider_payment_id) == (None, None, None)
    assert facts.account == "acct_1"


def test_a_nul_in_an_event_is_stored_as_something_that_can_be() -> None:
    facts = stripe_webhooks.WEBHOOKS.parse_webhook(BODY.replace(b"att_1", b"att\\u0000\\ud800"), {})
    assert facts is not None
    assert facts.attempt_id == "att��"
