"""Keep the parts of a run alive: what dies is started again, later each time, and given up when it dies at once."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.processes import last_words, start_process
from paymux_cli.refusals import NotPossible
from paymux_testkit.sandbox_process import SandboxProcess

QUICK_SECONDS = 10.0
"""Who lived for less long did not come up."""
QUICK_DEATHS_MAX = 5
PAUSES_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Before each start after so many quick deaths: the first is perhaps an accident."""

Say = Callable[[str], None]


class Part(Protocol):
    """Something that runs."""

    def start(self) -> Coroutine[object, object, object]:
        """Start it, also again."""
        ...

    def wait(self) -> Coroutine[object, object, object]:
        """Return when it has ended."""
        ...

    def last_words(self) -> str:
        """Give the end of what it wrote since it was started."""
        ...


async def keep(name: str, part: Part, *, say: Say, came_back: Say) -> NoReturn:
    """Start a running part again whenever it ends. Raises: NotPossible when it does not come up."""
    quick_deaths = 0
    while True:
        started_at = time.monotonic()
        await part.wait()
        lived_seconds = time.monotonic() - started_at
        quick_deaths = quick_deaths + 1 if lived_seconds < QUICK_SECONDS else 0
        if quick_deaths >= QUICK_DEATHS_MAX:
            raise NotPossible(f"{name} died {quick_deaths} times at once; its last words:\n{part.last_words()}")
        say(f"{name} died; starting it again")
        await asyncio.sleep(PAUSES_SECONDS[quick_deaths])
        await part.start()
        came_back(name)


@dataclass(slots=True)
class ProductProcess:
    """A process of the product."""

    verb: str
    environment: Mapping[str, str]
    log: Path
    inherits: Sequence[int] = ()
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _log_began_at: int = field(default=0, init=False)

    async def start(self) -> None:
        """Start it, also again."""
        self._log_began_at = self.log.stat().st_size if self.log.exists() else 0
        self.process = await start_process(self.verb, self.environment, log=self.log, inherits=self.inherits)

    async def wait(self) -> None:
        """Return when it has ended."""
        assert self.process is not None
        await self.process.wait()

    async def stop(self, *, patience_seconds: float) -> None:
        """Let it finish what is under way; kill it when that takes too long."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(patience_seconds):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def last_words(self) -> str:
        """Give the end of what it wrote since it was started."""
        return last_words(self.log, since=self._log_began_at)

    @property
    def has_ended(self) -> bool:
        """Tell whether it was started and is gone."""
        return self.process is not None and self.process.returncode is not None


@dataclass(slots=True)
class DatabasePart:
    """The embedded server."""

    server: EmbeddedPostgres

    async def start(self) -> None:
        """Start it again on what the last one left."""
        await self.server.stop()
        await self.server.start()

    async def wait(self) -> None:
        """Return when it has ended."""
        await self.server.wait()

    def last_words(self) -> str:
        """Give the end of its log."""
        return last_words(self.server.log)


@dataclass(slots=True)
class SandboxPart:
    """The sandbox gateway: it comes back on its port, with its book."""

    sandbox: SandboxProcess

    async def start(self) -> None:
        """Start it again."""
        self.sandbox.kill()
        await asyncio.to_thread(self.sandbox.start)

    async def wait(self) -> None:
        """Return when it has ended."""
        await asyncio.to_thread(self.sandbox.wait)

    def last_words(self) -> str:
        """Give the end of its log."""
        return last_words(self.sandbox.home / "sandbox.log")
