"""Where a command's settings come from: the environment, or what `paymux run` left in PAYMUX_HOME while it runs.

Never half of each: a key hashed under a pepper that the services do not have would be refused by all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from paymux_api.settings import Reader, parse_count, parse_database_url, parse_master_key, parse_switch
from paymux_cli.home import Home
from paymux_cli.refusals import NotPossible

MONTHS_MIN = 3
"""The database drops nothing younger, whatever it is told."""


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What a process needs to reach the database and to read credentials."""

    dsn: str = field(repr=False)
    master_key: bytes = field(repr=False)
    clock_offset_seconds: float = 0.0
    clock_divisor: float = 1.0
    batch_max: int = 64
    statement_cache: int = 200
    webhooks_allow_insecure: bool = False
    """Events may go to http, any port and private addresses: for a trial on one machine."""
    retention_months: int = 13

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "StackSettings":
        """Read the settings. Raises: SettingRefused."""
        read = Reader(environment)
        return cls(
            dsn=read.required("PAYMUX_DATABASE_URL", parse_database_url),
            master_key=read.required("PAYMUX_MASTER_KEY", parse_master_key),
            clock_offset_seconds=read.optional("PAYMUX_TEST_CLOCK_OFFSET", _offset, 0.0),
            clock_divisor=read.optional("PAYMUX_TEST_CLOCK_DIVISOR", _divisor, 1.0),
            batch_max=read.optional("PAYMUX_BATCH_MAX", parse_count, 64),
            statement_cache=read.optional("PAYMUX_DB_STATEMENT_CACHE", _cache_size, 200),
            webhooks_allow_insecure=read.optional("PAYMUX_WEBHOOKS_ALLOW_INSECURE", parse_switch, default=False),
            retention_months=read.optional("PAYMUX_RETENTION_MONTHS", _months, 13),
        )


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """Choose the settings that are ours and say something."""
    ours = {name: value.strip() for name, value in environment.items() if name.startswith("PAYMUX_")}
    return {name: value for name, value in ours.items() if value}


def command_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Give a command's settings: all from the environment, or all of the run on this home. Raises: NotPossible."""
    settings = given(environment)
    if "PAYMUX_DATABASE_URL" in settings:
        return settings
    home = Home.from_environment(environment)
    running = home.running()
    if running is None:
        raise NotPossible(f"nothing runs on {home.path}; start `make run` first, or set PAYMUX_DATABASE_URL.")
    return {**settings, **home.read_secrets(), **running}


def database_url(settings: Mapping[str, str]) -> str:
    """Read where the database is. Raises: SettingRefused."""
    return Reader(settings).required("PAYMUX_DATABASE_URL", parse_database_url)


def _offset(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]+)?", text):
        raise ValueError("give seconds")
    return float(text)


def _divisor(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text) or float(text) < 1:
        raise ValueError("give a number from 1 to 9999")
    return float(text)


def _cache_size(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError("give a number from 0 to 99999")
    return int(text)


def _months(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) < MONTHS_MIN:
        raise ValueError(f"give a number of months from {MONTHS_MIN} to 999")
    return int(text)
