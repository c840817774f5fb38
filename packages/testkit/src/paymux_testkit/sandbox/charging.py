"""Execute charges as their scripts say, once per key, and settle those that settle later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from .answers import Answer, charge_view, refusal, to_json
from .delays import Delays, wall_seconds
from .ledger import Charge, ChargeStatus, KeyRecord, Ledger, charge_id_for
from .scripts import Booking, Reply, Script, Wait, draw_script, script_of_token

# At `flaky` this token leaves the outcome to chance; every other one is obeyed as at `mock`.
DRAWN_TOKEN = "sandbox_approve"  # noqa: S105 - names a script, opens nothing
_ERROR_BODY = to_json({"error": {"code": "internal_error", "message": "Something broke in here."}})


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A charge that was asked for, checked. `digest` tells it from another request under the same key."""

    gateway: str
    key: str
    digest: str
    payment_id: str
    attempt_id: str
    amount: int
    currency: str
    capture: bool
    token: str
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeSettings:
    """What the sandbox was started with."""

    delays: Delays
    seed: int
    flaky_rates: Mapping[str, float]


class Charging:
    """The charge half of both gateways. `schedule` is told of each charge that has to settle by itself."""

    def __init__(self, ledger: Ledger, *, settings: ChargeSettings, schedule: Callable[[Charge], None]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._schedule = schedule
        self._limited: set[str] = set()

    def charge(self, request: ChargeRequest, script: Script) -> Answer:
        """Charge, or answer what was answered, or misbehave."""
        record = self._ledger.key(request.gateway, request.key)
        if record is None:
            return self._charge_first(request, script)
        if record.fenced:
            return refusal(409, "fenced", "This key was fenced: nothing will ever be charged under it.")
        if record.request_digest != request.digest:
            return refusal(400, "idempotency_key_reused", "This key was used with other parameters.")
        return self._charge_again(request, script, record)

    def script_for(self, *, gateway: str, key: str, token: str) -> Script | None:
        """Find what this charge is to suffer."""
        if gateway == "flaky" and token == DRAWN_TOKEN:
            return draw_script(self._settings.flaky_rates, seed=self._settings.seed, key=key)
        return script_of_token(token)

    def settle(self, charge_id: str) -> None:
        """Take the money of a charge whose time has come, unless something settled it before."""
        charge = self._ledger.charge(charge_id)
        if charge.due_at is None:
            return
        record = self._ledger.key(charge.gateway, charge.idempotency_key)
        assert record is not None
        assert not record.fenced
        charged = _charged(charge)
        if record.answer_status is None:
            record = _answered(record, charged)
        self._ledger.write(record, charge=charged)

    def _once_per_payment(self, request: ChargeRequest, script: Script) -> Script:
        """A limiter is about traffic: after its certified 429 the next try charges, whatever key and account it has."""
        if script.reply is not Reply.RATE_LIMITED or script.always:
            return script
        if request.payment_id in self._limited:
            return Script(Booking.CHARGED)
        self._limited.add(request.payment_id)
        return script

    def _charge_first(self, request: ChargeRequest, script: Script) -> Answer:
        script = self._once_per_payment(request, script)
        charge = self._charge_of(request, script)
        record = KeyRecord(
            request.gateway, request.key, request.digest, charge_id=None if charge is None else charge.id
        )
        if script.reply is Reply.ERROR:
            record = replace(record, answer_status=500, answer_body=_ERROR_BODY.decode())
        elif charge is not None and charge.status is not ChargeStatus.IN_TRANSIT and script.reply is not Reply.CONFLICT:
            record = _answered(record, charge)
        self._ledger.write(record, charge=charge)
        if charge is not None and charge.due_at is not None:
            self._schedule(charge)
        did = f"{script.booking.value}, {script.reply.value}"
        return _strike(script, record, did=did)

    def _charge_again(self, request: ChargeRequest, script: Script, record: KeyRecord) -> Answer:
        if script.always and script.reply not in {Reply.ANSWER, Reply.ERROR}:
            return _strike(script, record, did=f"nothing new, {script.reply.value}")
        if record.answer_status is not None:
            answer = _strike(Script(script.booking), record, did="replayed")
            return replace(answer, headers={"Sandbox-Replayed": "true"})
        if record.charge_id is not None and self._ledger.charge(record.charge_id).status is ChargeStatus.PENDING:
            return _strike(Script(Booking.LATER, Reply.CONFLICT), record, did="nothing new, conflict")
        charge = _charged(_requested(request))
        record = _answered(replace(record, charge_id=charge.id), charge)
        self._ledger.write(record, charge=charge)
        return _strike(Script(Booking.CHARGED), record, did="charged, answer")

    def _charge_of(self, request: ChargeRequest, script: Script) -> Charge | None:
        charge = _requested(request)
        match script.booking:
            case Booking.NOTHING:
                return None
            case Booking.CHARGED:
                return _charged(charge)
            case Booking.DECLINED:
                return replace(charge, status=ChargeStatus.DECLINED, decline_code=script.decline_code)
            case Booking.LATER:
                return replace(charge, due_at=self._due_at(script.wait))
            case Booking.IN_TRANSIT:
                return replace(charge, status=ChargeStatus.IN_TRANSIT, due_at=self._due_at(script.wait))
        assert_never(script.booking)

    def _due_at(self, wait: Wait | None) -> float | None:
        if wait is None:
            return None
        delays = self._settings.delays
        seconds = {
            Wait.CONFLICT: delays.conflict_seconds,
            Wait.PENDING: delays.pending_seconds,
            Wait.LATE_SUCCESS: delays.late_success_seconds,
            Wait.ZOMBIE: delays.zombie_seconds,
        }
        return wall_seconds() + seconds[wait]


def _requested(request: ChargeRequest) -> Charge:
    return Charge(
        id=charge_id_for(request.gateway, request.key),
        gateway=request.gateway,
        idempotency_key=request.key,
        payment_id=request.payment_id,
        attempt_id=request.attempt_id,
        amount=request.amount,
        currency=request.currency,
        capture=request.capture,
        status=ChargeStatus.PENDING,
        captured=0,
        refunded=0,
        decline_code=None,
        created_at=wall_seconds(),
        booked_at=None,
        due_at=None,
        api_key=request.api_key,
    )


def _charged(charge: Charge) -> Charge:
    status = ChargeStatus.SUCCEEDED if charge.capture else ChargeStatus.AUTHORIZED
    captured = charge.amount if charge.capture else 0
    return replace(charge, status=status, captured=captured, booked_at=wall_seconds(), due_at=None)


def _answered(record: KeyRecord, charge: Charge) -> KeyRecord:
    return replace(record, answer_status=200, answer_body=to_json(charge_view(charge)).decode())


def _strike(script: Script, record: KeyRecord, *, did: str) -> Answer:
    """Answer what the record holds in the manner of the script."""
    if script.reply is Reply.SILENCE:
        return Answer(0, b"", did, reply=Reply.SILENCE)
    if script.reply is Reply.CONFLICT:
        in_use = refusal(409, "idempotency_key_in_use", "A request with this key is being executed.")
        return replace(in_use, did=did, headers={"Retry-After": "1"})
    if script.reply is Reply.RATE_LIMITED:
        limited = refusal(429, "rate_limited", "Too many requests. This one was not executed.")
        return replace(limited, did=did, headers={"Sandbox-Certified": "not-executed", "Retry-After": "1"})
    assert record.answer_status is not None
    assert record.answer_body is not None
    return Answer(record.answer_status, record.answer_body.encode(), did, reply=script.reply)
