"""A loop that stands still ends its process, whatever holds it up; a pause of the whole process does not."""

import asyncio
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from paymux_cli.watchdog import LATE_SECONDS, LoopWatchdog, watched

PROGRAM = """
import asyncio, re, sys, time
from prometheus_client import CollectorRegistry
from paymux_cli.watchdog import LoopWatchdog, watched

def hold_up():
    {hold_up}

async def main():
    async with watched(CollectorRegistry(), LoopWatchdog(stall_seconds_max=2.0)):
        await asyncio.sleep(0.6)
        print("turning", flush=True)
        {goes_on}
        hold_up()
        print("still here", flush=True)

asyncio.run(main())
"""
LETS_OTHERS_RUN = "time.sleep(60)"
COMPUTES = "while True: pass"
LETS_NOBODY_RUN = "re.match('(a+)+$', 'a' * 40 + 'b')"


def program(hold_up: str, *, goes_on: str = "") -> subprocess.Popen[str]:
    text = textwrap.dedent(PROGRAM).format(hold_up=hold_up, goes_on=goes_on)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("hold_up", "ends_by"),
    [
        (LETS_OTHERS_RUN, {-signal.SIGABRT}),
        (COMPUTES, {-signal.SIGABRT, -signal.SIGPROF}),
        (LETS_NOBODY_RUN, {-signal.SIGPROF}),
    ],
)
def test_a_loop_that_stands_still_ends_its_process_and_says_where(hold_up: str, ends_by: set[int]) -> None:
    process = program(hold_up)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode in ends_by
    assert "still here" not in said
    assert "in hold_up" in complaint
    if process.returncode == -signal.SIGABRT:
        assert "loop.stalled" in said


def test_a_process_that_was_stopped_as_a_whole_goes_on() -> None:
    process = program("pass", goes_on="await asyncio.sleep(3)")
    assert process.stdout is not None
    assert process.stdout.readline() == "turning\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(4)  # twice what ends a loop that stands still
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "still here" in said


async def test_a_late_loop_is_shown_and_counted() -> None:
    registry = CollectorRegistry()
    async with watched(registry, LoopWatchdog()):
        await asyncio.sleep(0.3)
        time.sleep(LATE_SECONDS + 0.3)
        shown_while_it_stood_still = generate_latest(registry).decode()
        await asyncio.sleep(0.3)
    shown = generate_latest(registry).decode()
    for text in (shown_while_it_stood_still, shown):
        lag = re.search(r"^paymux_loop_lag_seconds (\S+)$", text, re.MULTILINE)
        assert lag is not None
        assert float(lag[1]) > LATE_SECONDS
    assert "paymux_loop_late_total 1.0" in shown
