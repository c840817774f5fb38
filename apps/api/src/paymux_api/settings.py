"""What processes are told: `PAYMUX_*` of the environment, read once, refused by name when it makes no sense."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

_PEPPER_BYTES_MIN = 32
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  compared, not bound
_LOG_LEVELS = ("debug", "info", "warning", "error")
_Value = TypeVar("_Value")


class SettingRefused(Exception):
    """A setting that makes no sense; the message names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Units: seconds. `peppers` by version; the newest hashes new keys."""

    peppers: Mapping[int, bytes] = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    """The private listener: metrics and invariants without a key. None: there is none."""
    public_url: str = ""
    log_level: str = "info"
    body_deadline_seconds: float = 15.0
    slow_request_seconds: float = 30.0
    requests_in_flight_max: int = 2_500
    forwarded_allow_ips: str = "127.0.0.1"
    """Which proxies may say whom a request comes from."""


def docs_url(settings: Settings) -> str:
    """Say where the documentation is: what problems point to."""
    if settings.public_url:
        return f"{settings.public_url}/docs"
    if settings.host in _EVERY_ADDRESS or not settings.port:
        # No address to name: the client resolves it against the one it asked.
        return "/docs"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}/docs"


def parse_settings(environment: Mapping[str, str]) -> Settings:
    """Read settings from names and values; empty counts as absent. Raises: SettingRefused."""
    read = Reader(environment)
    return Settings(
        peppers=read.required("PAYMUX_API_KEY_PEPPERS", parse_peppers),
        host=read.optional("PAYMUX_HOST", str, "127.0.0.1"),
        port=read.optional("PAYMUX_PORT", parse_port, 8080),
        admin_host=read.optional("PAYMUX_ADMIN_HOST", str, "127.0.0.1"),
        admin_port=read.optional("PAYMUX_ADMIN_PORT", parse_port, None),
        public_url=read.optional("PAYMUX_PUBLIC_URL", _url, ""),
        log_level=read.optional("PAYMUX_LOG_LEVEL", parse_log_level, "info"),
        body_deadline_seconds=read.optional("PAYMUX_BODY_DEADLINE_SECONDS", _seconds, 15.0),
        slow_request_seconds=read.optional("PAYMUX_SLOW_REQUEST_SECONDS", _seconds, 30.0),
        requests_in_flight_max=read.optional("PAYMUX_REQUESTS_IN_FLIGHT_MAX", parse_count, 2_500),
        forwarded_allow_ips=read.optional("PAYMUX_FORWARDED_ALLOW_IPS", str, "127.0.0.1"),
    )


class Reader:
    """Reads settings by name; one that is empty counts as absent."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def required(self, name: str, parse: Callable[[str], _Value]) -> _Value:
        """Read what there is no default for. Raises: SettingRefused."""
        text = self._environment.get(name, "").strip()
        if not text:
            raise SettingRefused(f"{name} is missing; the README tells how to make it.")
        return self._parsed(name, text, parse)

    def optional(self, name: str, parse: Callable[[str], _Value], default: _Value) -> _Value:
        """Read what may be absent. Raises: SettingRefused."""
        text = self._environment.get(name, "").strip()
        return self._parsed(name, text, parse) if text else default

    def _parsed(self, name: str, text: str, parse: Callable[[str], _Value]) -> _Value:
        try:
            return parse(text)
        except ValueError as error:
            raise SettingRefused(f"{name}: {error}") from None


def parse_peppers(text: str) -> Mapping[int, bytes]:
    """Read the peppers by version. Raises: ValueError."""
    peppers: dict[int, bytes] = {}
    for part in text.split(","):
        version, separator, digits = part.strip().partition(":")
        # The text itself is never repeated: it is a secret.
        if not separator or not re.fullmatch(r"[1-9][0-9]{0,3}", version) or not re.fullmatch(r"[0-9a-fA-F]+", digits):
            raise ValueError("give <version>:<hex>, several with commas, for example 1:<64 hexadecimal digits>")
        if len(digits) % 2 or len(digits) < 2 * _PEPPER_BYTES_MIN:
            raise ValueError(f"a pepper has at least {_PEPPER_BYTES_MIN} bytes ({2 * _PEPPER_BYTES_MIN} digits)")
        pepper = _random(bytes.fromhex(digits))
        if int(version) in peppers:
            raise ValueError(f"version {version} is there twice")
        peppers[int(version)] = pepper
    return peppers


def parse_master_key(text: str) -> bytes:
    """Read the key that opens gateway credentials. Raises: ValueError."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("give 32 bytes as 64 hexadecimal digits; make them with `openssl rand -hex 32`")
    return _random(bytes.fromhex(text))


def _random(secret: bytes) -> bytes:
    if len(set(secret)) < 8:  # noqa: PLR2004  a random one has about 30 different bytes
        raise ValueError("a secret has to be random; make one with `openssl rand -hex 32`")
    return secret


def parse_port(text: str) -> int:
    """Read a port. Raises: ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 <= int(text) <= 65_535:  # noqa: PLR2004
        raise ValueError("a port is a number from 0 to 65535 (0: any free one)")
    return int(text)


def parse_count(text: str) -> int:
    """Read a number of things. Raises: ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ValueError("give a number from 1 to 999999")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or not float(text):
        raise ValueError("give seconds, more than 0 and less than 10000")
    return float(text)


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text):
        raise ValueError("give an http or https address without a query")
    return text.rstrip("/")


def parse_database_url(text: str) -> str:
    """Read the address of a database. Raises: ValueError."""
    # A URL may hold a password, so it is not repeated either.
    if not re.fullmatch(r"postgres(ql)?://\S+", text):
        raise ValueError("give postgresql://user@host/database")
    try:
        urlsplit(text).port  # noqa: B018  reading it checks it
    except ValueError:
        raise ValueError("its port is no number from 0 to 65535") from None
    return text


def parse_switch(text: str) -> bool:
    """Read yes or no. Raises: ValueError."""
    if text not in {"1", "0", "true", "false"}:
        raise ValueError("give 1 or 0")
    return text in {"1", "true"}


def parse_log_level(text: str) -> str:
    """Read how much is logged. Raises: ValueError."""
    if text.lower() not in _LOG_LEVELS:
        raise ValueError(f"give one of {', '.join(_LOG_LEVELS)}")
    return text.lower()
