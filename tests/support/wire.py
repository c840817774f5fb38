"""What a gateway at the other end of a socket does, for tests of the transport."""

import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from paymux_core.exchange import HttpRequest
from paymux_core.ports import CallLimits

GatewayOf = Callable[..., Awaitable[Any]]
RequestAt = Callable[[str], HttpRequest]


async def answers(seen: Any) -> None:
    """Answer whatever comes, for ever."""
    while True:
        await seen.request()
        await seen.answer()


async def silent(seen: Any) -> None:
    """Read and never answer."""
    await seen.request()
    await seen.reader.read()


def short(clock: Any, seconds: float = 0.2) -> CallLimits:
    start = clock.monotonic()
    return CallLimits(ends_at=start + seconds, first_byte_before=start + seconds, connect_seconds=seconds)


def server_tls(folder: Path) -> ssl.SSLContext:
    """Make a certificate that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
