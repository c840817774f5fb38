"""Secrets at rest: AES-256-GCM, with the key's id in front and merchant, object and field as associated data.

A ciphertext that is moved to another object or merchant does not open.
"""

import os
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_ID = b"\x01"
_NONCE_BYTES = 12


class Sealer:
    """Seals and opens small documents under one master key of 32 bytes."""

    def __init__(self, master_key: bytes) -> None:
        """Take the master key, which never is in the database."""
        self._cipher = AESGCM(master_key)

    def seal(self, secrets: dict[str, str], *, merchant_id: UUID, object_id: UUID, field: str = "credentials") -> bytes:
        """Encrypt what one field of an account or an endpoint keeps."""
        nonce = os.urandom(_NONCE_BYTES)
        associated = _associated(merchant_id, object_id, field)
        return _KEY_ID + nonce + self._cipher.encrypt(nonce, msgspec.json.encode(secrets), associated)

    def open(
        self, sealed: bytes | None, *, merchant_id: UUID, object_id: UUID, field: str = "credentials"
    ) -> dict[str, str]:
        """Decrypt it. Raises: cryptography.exceptions.InvalidTag."""
        if sealed is None:
            return {}
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        plain = self._cipher.decrypt(nonce, ciphertext, _associated(merchant_id, object_id, field))
        return msgspec.json.decode(plain, type=dict[str, str])


def _associated(merchant_id: UUID, object_id: UUID, field: str) -> bytes:
    return b"|".join((merchant_id.bytes, object_id.bytes, field.encode()))


def open_secret(sealer: Sealer, sealed: bytes, *, merchant_id: UUID, endpoint_id: UUID) -> str:
    """Open what signs the events of an endpoint. Raises: cryptography.exceptions.InvalidTag."""
    return sealer.open(sealed, merchant_id=merchant_id, object_id=endpoint_id, field="secret")["secret"]


def seal_secret(sealer: Sealer, secret: str, *, merchant_id: UUID, endpoint_id: UUID) -> bytes:
    """Seal it; the secret before it is the same field, as the one becomes the other."""
    return sealer.seal({"secret": secret}, merchant_id=merchant_id, object_id=endpoint_id, field="secret")
