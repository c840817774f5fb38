"""Commands of the product as a person starts them: real processes on a home of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.http import Merchant

PATIENCE_SECONDS = 60.0


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Give a command these settings and none of the caller's own."""
    kept = ("PAYMUX_POSTGRES_BINDIR",)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PAYMUX_") or name in kept}
    return {**ours, **settings}


@dataclass(slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    complaint: str


def paymux(*arguments: str, settings: Mapping[str, str], typed: str = "") -> Ran:
    """Run a command to its end."""
    ran = subprocess.run(
        [sys.executable, "-m", "paymux_cli.main", *arguments],
        env=clean_environment(settings),
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout.strip(), ran.stderr.strip())


@dataclass(slots=True)
class RunOfEverything:
    """A `paymux run`, and what it printed."""

    settings: dict[str, str]
    home: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def until(self, words: str) -> str:
        """Read lines up to one with these words. Raises: AssertionError when the run ends first."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.lines))

    def where(self) -> dict[str, str]:
        """Read who runs where."""
        found: dict[str, str] = json.loads((self.home / "run.json").read_text())
        return found

    def demo(self) -> dict[str, str]:
        """Read demo.env."""
        lines = (self.home / "demo.env").read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def shop(self) -> Merchant:
        """Speak to the API as the demo merchant."""
        demo = self.demo()
        return Merchant(demo["PAYMUX_URL"], demo["PAYMUX_API_KEY"])

    def end_by_itself(self) -> int:
        """Read to the end and return the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        return self.process.wait(PATIENCE_SECONDS)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(number)
        return self.end_by_itself()


def start_run(home: Path, settings: Mapping[str, str]) -> RunOfEverything:
    """Start everything; a terminal's Ctrl-C does not reach it."""
    chosen = {"PAYMUX_HOME": str(home), "PAYMUX_PORT": "0", **settings}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "paymux_cli.main", "run"],
        env=clean_environment(chosen),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return RunOfEverything(chosen, home, process)
