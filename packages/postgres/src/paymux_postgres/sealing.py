"""Credentials at rest: AES-256-GCM, with the key's id in front and merchant, account and field as associated data.

A ciphertext that is moved to another account or merchant does not open.
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

    def seal(self, credentials: dict[str, str], *, merchant_id: UUID, account_id: UUID) -> bytes:
        """Encrypt an account's credentials."""
        nonce = os.urandom(_NONCE_BYTES)
        associated = _associated(merchant_id, account_id)
        return _KEY_ID + nonce + self._cipher.encrypt(nonce, msgspec.json.encode(credentials), associated)

    def open(self, sealed: bytes | None, *, merchant_id: UUID, account_id: UUID) -> dict[str, str]:
        """Decrypt an account's credentials. Raises: cryptography.exceptions.InvalidTag."""
        if sealed is None:
            return {}
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        plain = self._cipher.decrypt(nonce, ciphertext, _associated(merchant_id, account_id))
        return msgspec.json.decode(plain, type=dict[str, str])


def _associated(merchant_id: UUID, account_id: UUID) -> bytes:
    return b"|".join((merchant_id.bytes, account_id.bytes, b"credentials"))
