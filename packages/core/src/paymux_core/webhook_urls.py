"""Where a merchant may have us send events to: which URLs are taken, and which addresses are dialled.

A name is checked by the addresses it has at the moment of sending, never by how it is spelt: `0x7f.1`, `2130706433`
and `127.1` are all loopback to the resolver. What looks like a number has to be an address in its one spelling.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, urlsplit

from msgspec import Struct

from paymux_core.errors import ValidationFailed

URL_CHARACTERS_MAX = 2_048
_PORTS = frozenset({443, 8443})
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_HOST_CHARACTERS_MAX = 253
_SAFE = "/%:@!$&'()*+,;=~?[]"

_DENIED = tuple(
    ip_network(network)
    # Beyond what `is_global` refuses: relays and translations that end at any address, one's own or a private one; what
    # was withdrawn; documentation and segment routing.
    for network in (
        *("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "fec0::/10"),
        *("3fff::/20", "5f00::/16", "2001::/32"),
    )
)

Address = IPv4Address | IPv6Address


class WebhookTarget(Struct, frozen=True, gc=False):
    """An accepted URL in one spelling. `address` is set where the host is an address."""

    url: str
    host: str
    port: int
    address: str | None = None


def check_webhook_url(url: str, *, allow_insecure: bool) -> WebhookTarget:
    """Accept a URL, or say what is wrong with it. `allow_insecure`: also http, any port and private addresses.

    Raises: ValidationFailed.
    """
    if len(url) > URL_CHARACTERS_MAX or any(c <= " " or c in "\x7f\\" or c.isspace() for c in url):
        raise _refused(f"at most {URL_CHARACTERS_MAX} characters, no spaces, no backslash")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused("a valid one, such as https://shop.example/webhooks") from None
    scheme = parts.scheme.lower()
    if scheme != "https" and not (allow_insecure and scheme == "http"):
        raise _refused("it has to be https")
    if not host or "@" in parts.netloc or parts.fragment:
        raise _refused("with a host, without user, password and fragment")
    port = (443 if scheme == "https" else 80) if port is None else port
    if port not in _PORTS and not allow_insecure:
        raise _refused("port 443 or 8443")
    name, address = _host(host, allow_insecure=allow_insecure)
    shown = f"[{name}]" if ":" in name else name
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return WebhookTarget(f"{scheme}://{shown}:{port}{path}", name, port, address)


def _host(host: str, *, allow_insecure: bool) -> tuple[str, str | None]:
    if ":" in host:
        return _literal(host, allow_insecure=allow_insecure)
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        raise _refused("with the name of a host") from None
    labels = name.split(".")
    if _NUMBER_LIKE.fullmatch(labels[-1]):
        return _literal(name, allow_insecure=allow_insecure)
    if len(name) > _HOST_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("with the name of a host, without a dot at its end")
    if len(labels) == 1 and not allow_insecure:
        raise _refused("with the full name of a host")
    return name, None


def _literal(text: str, *, allow_insecure: bool) -> tuple[str, str]:
    try:
        address = ip_address(text)
    except ValueError:
        raise _refused("an address in its usual spelling, or the name of a host") from None
    if not allow_insecure and not address_is_public(str(address)):
        raise _refused("an address that the internet can reach")
    return str(address), str(address)


def address_is_public(text: str) -> bool:
    """Say whether an address, as the resolver gave it, may be dialled."""
    try:
        address: Address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    denied = any(address.version == network.version and address in network for network in _DENIED)
    return address.is_global and not address.is_multicast and not denied


def _refused(what: str) -> ValidationFailed:
    return ValidationFailed(f"Give another URL: {what}.", param="url")
