"""Fence a key, and capture, void or refund a charge: each executed once per key of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .answers import Answer, charge_view, json_answer, refusal
from .ledger import Charge, ChargeStatus, KeyRecord, Ledger


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """An operation that was asked for. `digest` tells it from another request under the same key."""

    gateway: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Execution:
    """What an operation answers, and what it changes."""

    answer: Answer
    charge: Charge | None = None
    fenced_key: KeyRecord | None = None


class Operations:
    """The other half of both gateways."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fence(self, request: OperationRequest, *, attempt_id: str, charge_key: str) -> Answer:
        """Make sure that a charge key never takes money, or say that it has."""
        if charge_key == request.key:
            return refusal(400, "invalid_request", "A fence needs a key of its own.")
        target = self._ledger.key(request.gateway, charge_key)
        if target is not None and target.charge_id is not None:
            charge = self._ledger.charge(target.charge_id)
            if charge.attempt_id != attempt_id:
                return refusal(400, "invalid_request", "The key belongs to another attempt.")
        return self._once(request, lambda: self._fence(request.gateway, charge_key))

    def capture(self, request: OperationRequest, charge: Charge, *, amount: int | None) -> Answer:
        """Take the money of an authorisation; the rest of it is released."""
        return self._once(request, lambda: _capture(charge, charge.amount if amount is None else amount))

    def void(self, request: OperationRequest, charge: Charge) -> Answer:
        """Release an authorisation."""
        return self._once(request, lambda: _void(charge))

    def refund(self, request: OperationRequest, charge: Charge, *, amount: int | None) -> Answer:
        """Give money back, all that is left or a part."""
        left = charge.captured - charge.refunded
        return self._once(request, lambda: _refund(charge, left if amount is None else amount, key=request.key))

    def _once(self, request: OperationRequest, execute: Callable[[], Execution]) -> Answer:
        record = self._ledger.key(request.gateway, request.key)
        if record is None:
            execution = execute()
            answer = execution.answer
            record = KeyRecord(request.gateway, request.key, request.digest, answer.status, answer.body.decode())
            fenced = () if execution.fenced_key is None else (execution.fenced_key,)
            self._ledger.write(record, *fenced, charge=execution.charge)
            return answer
        if record.fenced:
            return refusal(409, "fenced", "This key was fenced.")
        if record.request_digest != request.digest or record.answer_status is None or record.answer_body is None:
            return refusal(400, "idempotency_key_reused", "This key was used with other parameters.")
        body = record.answer_body.encode()
        return Answer(record.answer_status, body, "replayed", headers={"Sandbox-Replayed": "true"})

    def _fence(self, gateway: str, charge_key: str) -> Execution:
        target = self._ledger.key(gateway, charge_key) or KeyRecord(gateway, charge_key, None)
        tombstone = replace(target, fenced=True)
        charge = None if target.charge_id is None else self._ledger.charge(target.charge_id)
        match charge and charge.status:
            case ChargeStatus.SUCCEEDED:
                assert charge is not None
                error = {"code": "already_charged", "message": "Money moved under this key."}
                content = {"error": error, "charge": charge_view(charge)}
                return Execution(json_answer(409, content, did="refused: already_charged"))
            case ChargeStatus.PENDING | ChargeStatus.AUTHORIZED:
                assert charge is not None
                charge = replace(charge, status=ChargeStatus.CANCELED, due_at=None)
                return Execution(_fenced(charge), charge, tombstone)
            case ChargeStatus.IN_TRANSIT:
                assert charge is not None
                # The caller must not learn of it: when it arrives, it finds the tombstone.
                return Execution(_fenced(None), replace(charge, due_at=None), tombstone)
            case _:
                return Execution(_fenced(charge), None, tombstone)


def _fenced(charge: Charge | None) -> Answer:
    return json_answer(200, {"status": "fenced", "charge": charge and charge_view(charge)}, did="fenced")


def _capture(charge: Charge, amount: int) -> Execution:
    if charge.status is not ChargeStatus.AUTHORIZED:
        return _unexpected(charge)
    if amount > charge.amount:
        return Execution(refusal(422, "amount_too_large", "More than was authorized."))
    charge = replace(charge, status=ChargeStatus.SUCCEEDED, captured=amount)
    return Execution(json_answer(200, charge_view(charge), did="captured"), charge)


def _void(charge: Charge) -> Execution:
    if charge.status is not ChargeStatus.AUTHORIZED:
        return _unexpected(charge)
    charge = replace(charge, status=ChargeStatus.CANCELED)
    return Execution(json_answer(200, charge_view(charge), did="voided"), charge)


def _refund(charge: Charge, amount: int, *, key: str) -> Execution:
    if charge.status is not ChargeStatus.SUCCEEDED:
        return _unexpected(charge)
    if not 0 < amount <= charge.captured - charge.refunded:
        return Execution(refusal(422, "amount_too_large", "More than is left of the captured amount."))
    charge = replace(charge, refunded=charge.refunded + amount)
    content: dict[str, object] = {
        "id": f"re_{charge.id.removeprefix('ch_')}_{key}",
        "status": "succeeded",
        "amount": amount,
        "currency": charge.currency,
        "charge": charge_view(charge),
    }
    return Execution(json_answer(200, content, did="refunded"), charge)


def _unexpected(charge: Charge) -> Execution:
    error = {"code": "charge_unexpected_state", "message": f"The charge is {charge.status.value}."}
    content = {"error": error, "charge": charge_view(charge)}
    return Execution(json_answer(409, content, did="refused: charge_unexpected_state"))
