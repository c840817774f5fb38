"""Small JSON documents in columns, to and from records of core. Each has one shape, written and read here only."""

from collections.abc import Mapping

import msgspec

from paymux_core.outcomes import Advice, DeclineCode, NextAction, Refusal
from paymux_core.records import LastError, PaymentMethod


class _Method(msgspec.Struct, omit_defaults=True):
    type: str
    token: str | None = None
    gateway_tokens: dict[str, str] | None = None


class _Refusal(msgspec.Struct, omit_defaults=True):
    code: DeclineCode
    message: str
    advice: Advice
    gateway_code: str | None = None
    gateway: str | None = None


class _Action(msgspec.Struct, omit_defaults=True):
    type: str
    url: str | None = None
    parameters: dict[str, str] = {}


_encode = msgspec.json.Encoder().encode
_decode_method = msgspec.json.Decoder(_Method).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_action = msgspec.json.Decoder(_Action).decode
_decode_strings = msgspec.json.Decoder(dict[str, str]).decode
_decode_objects = msgspec.json.Decoder(dict[str, object]).decode


def write_mapping(value: Mapping[str, object]) -> str:
    """Write any mapping as JSON."""
    return _encode(value).decode()


def read_strings(text: str) -> dict[str, str]:
    """Read a mapping of strings."""
    return _decode_strings(text) if text != "{}" else {}


def read_routing(text: str | None) -> dict[str, object] | None:
    """Read why an account was chosen."""
    return None if text is None else _decode_objects(text)


def write_method(method: PaymentMethod | None) -> str | None:
    """Write a payment method."""
    if method is None:
        return None
    tokens = None if method.gateway_tokens is None else dict(method.gateway_tokens)
    return _encode(_Method(method.type, method.token, tokens)).decode()


def read_method(text: str | None) -> PaymentMethod | None:
    """Read a payment method."""
    if text is None:
        return None
    method = _decode_method(text)
    return PaymentMethod(method.type, method.token, method.gateway_tokens)


def write_refusal(refusal: Refusal | None, *, gateway: str | None = None) -> str | None:
    """Write why something was refused."""
    if refusal is None:
        return None
    return _encode(_Refusal(refusal.code, refusal.message, refusal.advice, refusal.gateway_code, gateway)).decode()


def read_refusal(text: str | None) -> Refusal | None:
    """Read why an attempt was refused."""
    if text is None:
        return None
    found = _decode_refusal(text)
    return Refusal(found.code, found.message, found.advice, found.gateway_code)


def write_last_error(error: LastError | None) -> str | None:
    """Write why a payment did not go through."""
    return None if error is None else write_refusal(error.refusal, gateway=error.gateway)


def read_last_error(text: str | None) -> LastError | None:
    """Read why a payment did not go through."""
    if text is None:
        return None
    found = _decode_refusal(text)
    return LastError(Refusal(found.code, found.message, found.advice, found.gateway_code), found.gateway)


def write_action(action: NextAction | None) -> str | None:
    """Write what the customer has to do."""
    return None if action is None else _encode(_Action(action.type, action.url, dict(action.parameters))).decode()


def read_action(text: str | None) -> NextAction | None:
    """Read what the customer has to do."""
    if text is None:
        return None
    action = _decode_action(text)
    return NextAction(action.type, action.url, tuple(action.parameters.items()))
