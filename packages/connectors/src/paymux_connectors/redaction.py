"""What the audit trail may keep: named fields, short, and no secret of ours that somebody echoes."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from paymux_core.card_numbers import contains_card_number

FieldTree = Mapping[str, "FieldTree | None"]
"""Names to keep; None keeps a plain value, a tree goes on below (and into each element of a list)."""
_TEXT_MAX = 500
_LIST_MAX = 20
_SECRET_LENGTH_MIN = 8
REDACTED = "[redacted]"


def keep_fields(document: Mapping[str, object], fields: FieldTree) -> dict[str, object]:
    """Copy the named fields; whatever is not named is dropped."""
    kept: dict[str, object] = {}
    for name, below in fields.items():
        if name in document:
            kept[name] = _keep(document[name], below)
    return kept


def _keep(value: object, below: FieldTree | None) -> object:
    if below is None:
        if isinstance(value, str):
            return without_card_number(value[:_TEXT_MAX])
        # 1e400 is read as infinity, which no JSON of ours can say again.
        plain = value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value))
        return value if plain else REDACTED
    if isinstance(value, Mapping):
        return keep_fields(value, below)
    if isinstance(value, list):
        return [_keep(item, below) for item in value[:_LIST_MAX]]
    return _keep(value, None)


def without_card_number(text: str) -> str:
    """Give a text, or nothing of it if a card number stands in it: a gateway may repeat what it was not to be sent."""
    return REDACTED if contains_card_number(text) else text


def secrets_in(body: bytes, secrets: Iterable[str]) -> Sequence[str]:
    """Find which of our secrets a body repeats; shorter ones would match by chance."""
    return [secret for secret in secrets if len(secret) >= _SECRET_LENGTH_MIN and secret.encode() in body]


def without_secrets(value: object, secrets: Sequence[str]) -> object:
    """Replace the secrets in every string of a kept document."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, Mapping):
        return {name: without_secrets(item, secrets) for name, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, secrets) for item in value]
    return value
