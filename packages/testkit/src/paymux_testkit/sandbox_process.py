"""Run the sandbox gateway as a child process of a test, a bench or the torture."""

import json
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

START_SECONDS_MAX = 30.0  # a book of a hundred thousand charges is read in one or two
STOP_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 30.0


class SandboxDidNotStart(Exception):
    """The child ended, or said nothing in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How the sandbox is started. `port` 0: a free one, kept over restarts of the same SandboxProcess."""

    port: int = 0
    clock_divisor: float = 15.0
    seed: int = 0
    latency_ms: float = 0.0
    zombie_seconds: float = 45.0
    lookup_lag_seconds: float = 0.0
    flaky_rates: Mapping[str, float] | None = None


class SandboxProcess:
    """A running sandbox. It ends with its parent, even if that one is killed: its stdin closes then."""

    def __init__(self, home: Path, *, settings: SandboxSettings | None = None) -> None:
        self.home = home
        self.url = ""
        self._settings = settings or SandboxSettings()
        self._port = self._settings.port
        self._process: subprocess.Popen[bytes]
        self.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def pid(self) -> int:
        """The process to kill or to pause."""
        return self._process.pid

    def start(self) -> None:
        """Start it, again on the same port after `kill` or `stop`, and wait until it listens."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "sandbox.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C in the terminal is not for us: who waits for an answer of ours must still get it.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS_MAX)
        line = self._process.stdout.readline() if readable else b""
        if not line.startswith(b"sandbox ready "):
            self.kill()
            raise SandboxDidNotStart((self.home / "sandbox.log").read_text(errors="replace")[-2000:])
        self.url = line.split()[-1].decode()
        self._port = int(self.url.rpartition(":")[2])

    def charges(self, payment_id: str | None = None) -> list[dict[str, object]]:
        """Read the book: one row per real charge."""
        return self._rows("/book/charges", {} if payment_id is None else {"payment_id": payment_id})

    def requests(self, payment_id: str | None = None) -> list[dict[str, object]]:
        """Read what the gateways received since the start."""
        return self._rows("/book/requests", {} if payment_id is None else {"payment_id": payment_id})

    def sendings(self, payment_id: str | None = None) -> list[dict[str, object]]:
        """Read the tries to deliver webhooks since the start."""
        return self._rows("/book/webhooks", {} if payment_id is None else {"payment_id": payment_id})

    def send_webhooks(
        self,
        gateway: str,
        api_key: str,
        *,
        url: str,
        secret: str,
        previous_secret: str | None = None,
        account: str | None = None,
        faults: Sequence[str] = (),
    ) -> None:
        """Say where the webhooks of an API key go, and what befalls them."""
        asked = {"url": url, "secret": secret, "previous_secret": previous_secret, "account": account}
        body = json.dumps({**asked, "faults": list(faults)})
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=READ_SECONDS_MAX)
        try:
            connection.request("POST", f"/{gateway}/v1/webhook_endpoints", body, {"Authorization": f"Bearer {api_key}"})
            answer = connection.getresponse()
            told = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, told  # noqa: PLR2004  HTTP's own number

    def stop(self) -> int:
        """Stop it as a supervisor does; return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._close_pipes()

    def wait(self) -> int:
        """Block until it ends, wanted or not; return its exit code."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._close_pipes()

    def __enter__(self) -> Self:
        """Give the running sandbox."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, if it still runs."""
        if self._process.poll() is None:
            self.stop()

    def _command(self) -> Sequence[str]:
        settings = self._settings
        options: dict[str, object] = {
            "--home": self.home,
            "--port": self._port,
            "--clock-divisor": settings.clock_divisor,
            "--seed": settings.seed,
            "--latency-ms": settings.latency_ms,
            "--zombie-seconds": settings.zombie_seconds,
            "--lookup-lag-seconds": settings.lookup_lag_seconds,
        }
        if settings.flaky_rates is not None:
            options["--flaky-rates"] = json.dumps(dict(settings.flaky_rates))
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "paymux_testkit.sandbox", "--stop-on-stdin-eof", *words]

    def _rows(self, path: str, query: Mapping[str, str]) -> list[dict[str, object]]:
        host = self.url.removeprefix("http://")
        connection = HTTPConnection(host, timeout=READ_SECONDS_MAX)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            rows = json.load(connection.getresponse())["data"]
        finally:
            connection.close()
        assert isinstance(rows, list)
        return rows

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
