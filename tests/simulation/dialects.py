"""How the two gateways are spoken to: one call per charge, found by reference; Stripe's reserve, then confirm."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from paymux_connectors.sandbox_dialect import SandboxDialect
from paymux_core.connector import Caching, Fence, Lookup
from paymux_core.exchange import Answer, HttpRequest
from tests.simulation.gateways import DECLINED, Gateway, Habits, Item, Record, answer, error

LOOKUP_CONSISTENCY_SECONDS = 20
_DECLINE_CODES = {Record.DECLINED_SOFT: "issuer_not_available", Record.DECLINED_HARD: "stolen_card"}


class HabitualDialect(SandboxDialect):
    """The sandbox's dialect, spoken to a gateway that has these habits."""

    def __init__(self, name: str, habits: Habits) -> None:
        super().__init__(name)
        self.capabilities = replace(
            SandboxDialect.capabilities,
            caching=habits.caching,
            key_window_seconds=600 if habits.caching is not Caching.NONE else 0,
            lookup=Lookup.BY_REFERENCE if habits.can_look_up else Lookup.NONE,
            lookup_consistency_seconds=LOOKUP_CONSISTENCY_SECONDS,
            fence=Fence.BY_KEY if habits.can_fence else Fence.NONE,
        )


class SingleCallGateway(Gateway):
    """One request charges; a fence is a tombstone for the attempt."""

    def look_up(self, request: HttpRequest) -> Answer:
        [attempt_id] = parse_qs(urlsplit(request.url).query)["attempt_id"]
        item = self.items.get(attempt_id)
        seen = item is not None and item.record is not Record.RESERVED and item.visible_at <= self.world.loop.now
        return answer(200, {"data": [_charge_view(item)] if item is not None and seen else []})

    def fence(self, request: HttpRequest) -> Answer:
        attempt_id = json.loads(request.body)["attempt_id"]
        item = self.items.setdefault(
            attempt_id, Item(id=f"ch_{attempt_id}", payment_id="", attempt_id=attempt_id, amount=0, currency="")
        )
        if item.executing or item.record is Record.PENDING:
            return error(409, "idempotency_key_in_use")
        if item.record is Record.CHARGED:
            return error(409, "already_charged", charge=_charge_view(item))
        item.record = Record.FENCED
        self.world.note(self.name, f"fences {attempt_id}")
        return answer(200, {"status": "fenced", "charge": None})

    def item_of(self, request: HttpRequest) -> Item:
        asked = json.loads(request.body)
        return self.items.setdefault(
            asked["attempt_id"],
            Item(
                id=f"ch_{asked['attempt_id']}",
                payment_id=asked["payment_id"],
                attempt_id=asked["attempt_id"],
                amount=asked["amount"],
                currency=asked["currency"],
            ),
        )

    def refusal(self, item: Item) -> Answer | None:
        return error(409, "fenced") if item.record is Record.FENCED else None

    def tell(self, item: Item) -> Answer:
        return answer(200, _charge_view(item))


def _charge_view(item: Item) -> dict[str, object]:
    statuses = {Record.CHARGED: "succeeded", Record.PENDING: "pending", Record.FENCED: "canceled"}
    decline = None
    if item.record in DECLINED:
        soft = item.record is Record.DECLINED_SOFT
        decline = {"code": _DECLINE_CODES[item.record], "message": "Declined.", "retryable": soft}
    return {
        "id": item.id,
        "status": statuses.get(item.record, "declined"),
        "amount": item.amount,
        "currency": item.currency,
        "payment_id": item.payment_id,
        "attempt_id": item.attempt_id,
        "decline": decline,
    }


class StripeGateway(Gateway):
    """Create, confirm, read, list and cancel a PaymentIntent."""

    def look_up(self, request: HttpRequest) -> Answer:
        parts = urlsplit(request.url)
        name = parts.path.rpartition("/")[2]
        if name != "payment_intents":
            return answer(200, self._seen(self.items[name]))
        return answer(200, {"data": [self._seen(item) for item in self.items.values()], "has_more": False})

    def _seen(self, item: Item) -> dict[str, object]:
        lagging = item.record is not Record.FENCED and item.visible_at > self.world.loop.now
        return _intent_view(item, Record.RESERVED if lagging else item.record)

    def fence(self, request: HttpRequest) -> Answer:
        item = self._item(request)
        if item.executing:
            return error(409, "lock_timeout")
        if item.record in (Record.CHARGED, Record.PENDING):
            return error(400, "payment_intent_unexpected_state")
        item.record = Record.FENCED
        self.world.note(self.name, f"cancels {item.id}")
        return answer(200, _intent_view(item, item.record))

    def reserve(self, request: HttpRequest) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        item = Item(
            id=f"pi_{len(self.items) + 1}",
            payment_id=asked["metadata[payment_id]"],
            attempt_id=asked["metadata[attempt_id]"],
            amount=int(asked["amount"]),
            currency=asked["currency"],
        )
        self.items[item.id] = item
        return answer(200, _intent_view(item, item.record))

    def item_of(self, request: HttpRequest) -> Item:
        return self._item(request)

    def _item(self, request: HttpRequest) -> Item:
        return self.items[urlsplit(request.url).path.split("/")[3]]

    def refusal(self, item: Item) -> Answer | None:
        if item.executing:
            return error(409, "lock_timeout")
        taken = item.record in (Record.CHARGED, Record.PENDING, Record.FENCED, Record.ACTION)
        return error(400, "payment_intent_unexpected_state") if taken else None

    def tell(self, item: Item) -> Answer:
        view = _intent_view(item, item.record)
        if item.record in DECLINED:
            return answer(402, {"error": {**_card_error(item.record), "payment_intent": view}})
        return answer(200, view)


def _card_error(record: Record) -> dict[str, object]:
    code = _DECLINE_CODES[record]
    return {"type": "card_error", "code": "card_declined", "decline_code": code, "message": "Your card was declined."}


def _intent_view(item: Item, record: Record) -> dict[str, object]:
    statuses = {
        Record.RESERVED: "requires_confirmation",
        Record.DECLINED_SOFT: "requires_payment_method",
        Record.DECLINED_HARD: "requires_payment_method",
        Record.PENDING: "processing",
        Record.ACTION: "requires_action",
        Record.CHARGED: "succeeded",
        Record.FENCED: "canceled",
    }
    return {
        "id": item.id,
        "object": "payment_intent",
        "status": statuses[record],
        "amount": item.amount,
        "amount_received": item.amount if record is Record.CHARGED else 0,
        "currency": item.currency,
        "metadata": {"payment_id": item.payment_id, "attempt_id": item.attempt_id},
        "last_payment_error": _card_error(record) if record in DECLINED else None,
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}}
        if record is Record.ACTION
        else None,
    }
