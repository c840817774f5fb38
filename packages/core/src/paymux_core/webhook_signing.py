"""Sign what goes out, as Standard Webhooks says: `v1,` and the HMAC-SHA256 of id, time and body, one per secret."""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

SECRET_BYTES = 32
_PREFIX = "whsec_"
_SECRET_BYTES_MIN = 24
_SECRET_BYTES_MAX = 64


def write_secret(random: bytes) -> str:
    """Write a secret as merchants are shown it."""
    assert _SECRET_BYTES_MIN <= len(random) <= _SECRET_BYTES_MAX
    return _PREFIX + b64encode(random).decode()


def read_secret(text: str) -> bytes:
    """Read the bytes that sign. Raises: ValueError."""
    try:
        key = b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret is whsec_ and base64") from None
    if not text.startswith(_PREFIX) or not _SECRET_BYTES_MIN <= len(key) <= _SECRET_BYTES_MAX:
        raise ValueError(f"a secret is whsec_ and {_SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX} bytes in base64")
    return key


def signed_headers(body: bytes, *, message_id: str, at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """Give the three headers; while two secrets live, whoever knows one of them can verify."""
    seconds = str(int(at.timestamp()))
    signed = b".".join((message_id.encode(), seconds.encode(), body))
    digests = [hmac.digest(read_secret(secret), signed, hashlib.sha256) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
    }
