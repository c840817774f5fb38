"""The two ways in which gateways sign webhooks: a timestamp and the body, or the body alone. Both in constant time."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

from paymux_core.inbound_webhooks import TOLERANCE_SECONDS, WebhookRefusal

_HEX = re.compile("[0-9a-f]{64}", re.ASCII)
_TIMESTAMP = re.compile("[0-9]{1,12}", re.ASCII)
_PARTS_MAX = 16
"""A gateway that rolls a secret sends two signatures; a stranger may send as many as fit into a header."""


def refused_timestamped(
    header: str | None, body: bytes, secrets: Sequence[str], *, now: datetime
) -> WebhookRefusal | None:
    """Check `t=<unix>,v1=<hex>[,v1=…]`: HMAC-SHA256 over `{t}.{body}`; any signature by any secret will do.

    The time may lie 300 s before or after ours, and is looked at only once the signature holds.
    """
    if header is None:
        return WebhookRefusal.SIGNATURE_MISSING
    parts = [part.partition("=") for part in header.split(",", _PARTS_MAX)]
    times = [value.strip() for name, _, value in parts if name.strip() == "t"]
    signatures = [value.strip() for name, _, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]) or not any(_HEX.fullmatch(s) for s in signatures):
        return WebhookRefusal.SIGNATURE_MALFORMED
    if not _is_signed(b"%b.%b" % (times[0].encode(), body), signatures, secrets):
        return WebhookRefusal.SIGNATURE_WRONG
    if abs(now.timestamp() - int(times[0])) > TOLERANCE_SECONDS:
        return WebhookRefusal.TIMESTAMP_OUT_OF_TOLERANCE
    return None


def refused_body_hmac(header: str | None, body: bytes, secrets: Sequence[str]) -> WebhookRefusal | None:
    """Check a hex HMAC-SHA256 over the body alone. Nothing says when it was made: a replay is told by its bytes."""
    if header is None:
        return WebhookRefusal.SIGNATURE_MISSING
    if not _HEX.fullmatch(header):
        return WebhookRefusal.SIGNATURE_MALFORMED
    return None if _is_signed(body, [header], secrets) else WebhookRefusal.SIGNATURE_WRONG


def _is_signed(message: bytes, signatures: Sequence[str], secrets: Sequence[str]) -> bool:
    """Compare everything with everything, so that the time it takes tells nothing."""
    found = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        for signature in signatures:
            if signature.isascii():
                found |= hmac.compare_digest(expected, signature)
    return found
