"""The command as a person runs it: it finds nothing in the product, and however it ends nothing of it is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import eventually

COMMAND = (sys.executable, "-m", "paymux_cli.main", "torture")
EVERYTHING_RUNS = "  api  "


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which every temporary file, and so every process that it starts, can be told from others'."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAYMUX_")}
    return inherited | {"TMPDIR": str(tmp_path)}


@pytest.fixture
def running(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A torture in which everything runs."""
    process = subprocess.Popen(
        [*COMMAND, "--payments", "2000", "--kills", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(EVERYTHING_RUNS):
            break
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def processes_of(tmp_path: Path) -> list[str]:
    """List the live processes that were started with this folder for temporary files, or work in it."""
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and _belongs(entry, tmp_path)]


def _belongs(entry: Path, tmp_path: Path) -> bool:
    try:
        # A zombie has neither environment nor working directory.
        environment = (entry / "environ").read_bytes().split(b"\0")
        return f"TMPDIR={tmp_path}".encode() in environment or (entry / "cwd").readlink().is_relative_to(tmp_path)
    except OSError:
        return False


async def nothing_is_left(tmp_path: Path) -> None:
    """Wait until no process is left. Raises: NotInTime."""

    async def left() -> list[str]:
        return processes_of(tmp_path)

    await eventually(left, lambda found: not found)


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.xdist_group("torture")
def test_two_hundred_payments_under_eight_kills_end_without_a_finding(environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [*COMMAND, "--payments", "200", "--kills", "8"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "8 by SIGKILL" in ran.stdout


@pytest.mark.slow
async def test_nothing_is_left_when_the_torture_itself_is_killed(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    # The command, Postgres with its own processes, the sandbox, API and worker.
    assert len(processes_of(tmp_path)) > 5
    running.kill()
    running.wait()
    await nothing_is_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_nothing_is_left_when_a_person_has_enough(
    running: subprocess.Popen[str], tmp_path: Path, sign: signal.Signals
) -> None:
    running.send_signal(sign)
    assert running.wait() == 130
    await nothing_is_left(tmp_path)
    assert list(tmp_path.glob("paymux-torture-*")) == []
