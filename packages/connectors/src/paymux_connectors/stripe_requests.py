"""The requests we send to Stripe, complete to the byte; the same call always gives the same bytes."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import quote, urlencode

from paymux_connectors.stripe_amounts import to_stripe_amount
from paymux_core.connector import ChargeCall, GatewayAccount, ListWindow, provider_key
from paymux_core.exchange import HttpRequest, Verb

STRIPE_VERSION = "2022-11-15"
"""The first version with `latest_charge`, and the one whose OpenAPI description our shapes are tested against.

Versions from 2026-09-30.endive on answer 400 to `payment_method_types` (docs.stripe.com/changelog, read in November
2026): a newer pin needs `allowed_payment_method_types`, and a check of `error_on_requires_action` with it.
"""

_LIST_BEFORE = timedelta(minutes=2)
_LIST_AFTER = timedelta(minutes=15)
"""Our clock may differ from Stripe's, and a create may be re-sent for as long as the charge window is open."""
LIST_LIMIT = 100

_Fields = Sequence[tuple[str, str]]


def create_request(account: GatewayAccount, call: ChargeCall) -> HttpRequest | None:
    """Build the reserve: no `confirm`, so no money moves. None if Stripe cannot say the amount."""
    amount = to_stripe_amount(call.money)
    if amount is None:
        return None
    fields = [
        ("amount", str(amount)),
        ("currency", call.money.currency),
        ("capture_method", "automatic" if call.capture == "automatic" else "manual"),
        ("payment_method_types[]", call.payment_method_type),
        ("metadata[payment_id]", call.payment_id),
        ("metadata[attempt_id]", call.attempt_id),
    ]
    return _post(
        account,
        "/v1/payment_intents",
        verb=Verb.RESERVE,
        key=provider_key(call.attempt_id, verb="create"),
        shown=fields,
        hidden=[("payment_method", call.token)],
    )


def confirm_request(account: GatewayAccount, call: ChargeCall, *, intent_id: str) -> HttpRequest:
    """Build the charge. Without a place to send the customer to, an action they cannot take becomes a decline."""
    shown: list[tuple[str, str]] = []
    hidden: list[tuple[str, str]] = []
    if call.off_session:
        shown.append(("off_session", "true"))
    elif call.return_url is None:
        shown.append(("error_on_requires_action", "true"))
    if call.return_url is not None and not call.off_session:
        # A merchant's address may carry their customer's session.
        hidden.append(("return_url", call.return_url))
    return _post(
        account,
        f"{_intent_path(intent_id)}/confirm",
        verb=Verb.CHARGE,
        key=provider_key(call.attempt_id, verb="confirm"),
        shown=shown,
        hidden=hidden,
    )


def cancel_request(account: GatewayAccount, call: ChargeCall, *, intent_id: str) -> HttpRequest:
    """Build the fence, with a key of its own each time: Stripe would replay an earlier refusal."""
    return _post(
        account,
        f"{_intent_path(intent_id)}/cancel",
        verb=Verb.FENCE,
        key=provider_key(call.attempt_id, verb="void", number=call.fence_number),
        shown=[("cancellation_reason", "abandoned")],
        hidden=[],
    )


def read_request(account: GatewayAccount, *, intent_id: str) -> HttpRequest:
    """Build the look-up by id."""
    return _get(account, _intent_path(intent_id), [("expand[]", "latest_charge")])


def list_request(account: GatewayAccount, call: ChargeCall, *, after: str | None) -> HttpRequest:
    """Build one page of the look-up without an id: everything created about when the attempt was."""
    window = ListWindow(call.started_at - _LIST_BEFORE, call.started_at + _LIST_AFTER, after)
    return list_page_request(account, window)


def list_page_request(account: GatewayAccount, window: ListWindow) -> HttpRequest:
    """Build one page of the list of a time window."""
    fields = [
        ("created[gte]", str(int(window.born_from.timestamp()))),
        ("created[lte]", str(int(window.born_to.timestamp()))),
        ("limit", str(LIST_LIMIT)),
    ]
    if window.after is not None:
        fields.append(("starting_after", window.after))
    return _get(account, "/v1/payment_intents", fields)


def _intent_path(intent_id: str) -> str:
    return f"/v1/payment_intents/{quote(intent_id, safe='')}"


def _headers(account: GatewayAccount) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {account.credentials.get('secret_key', '')}",
        "Stripe-Version": STRIPE_VERSION,
    }


def _get(account: GatewayAccount, path: str, query: _Fields) -> HttpRequest:
    return HttpRequest(
        verb=Verb.INQUIRE,
        method="GET",
        url=f"{account.base_url}{path}?{urlencode(query)}",
        headers=_headers(account),
    )


def _post(account: GatewayAccount, path: str, *, verb: Verb, key: str, shown: _Fields, hidden: _Fields) -> HttpRequest:
    return HttpRequest(
        verb=verb,
        method="POST",
        url=f"{account.base_url}{path}",
        headers={
            **_headers(account),
            "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": key,
        },
        body=urlencode([*shown, *hidden]).encode(),
        body_safe=dict(shown),
        idempotency_key=key,
        idempotent_replay=True,
    )
