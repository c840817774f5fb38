"""Start the sandbox gateway from the command line."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .charging import ChargeSettings
from .delays import Delays
from .journal import JournalDamaged, JournalInUse
from .scripts import DEFAULT_FLAKY_RATES, BadRates, read_rates
from .server import ServerSettings, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        rates = DEFAULT_FLAKY_RATES if options.flaky_rates is None else read_rates(options.flaky_rates)
        delays = replace(
            Delays(), zombie_seconds=options.zombie_seconds, lookup_lag_seconds=options.lookup_lag_seconds
        ).divided_by(options.clock_divisor)
        settings = ServerSettings(
            home=options.home,
            host=options.host,
            port=options.port,
            clock_divisor=options.clock_divisor,
            latency_seconds=options.latency_ms / 1000,
            stop_on_stdin_eof=options.stop_on_stdin_eof,
            charges=ChargeSettings(delays, options.seed, rates),
        )
        asyncio.run(serve(settings))
    except BadRates as error:
        sys.stderr.write(f"sandbox: --flaky-rates: {error}\n")
        return 2
    except JournalInUse:
        sys.stderr.write(f"sandbox: another sandbox runs on {options.home}\n")
        return 1
    except (JournalDamaged, OSError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paymux_testkit.sandbox", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="where the book is kept")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one, written to sandbox.json")
    parser.add_argument("--clock-divisor", type=_positive, default=1.0, help="divides every delay")
    parser.add_argument("--seed", type=int, default=0, help="of the faults of flaky")
    parser.add_argument("--flaky-rates", help='JSON, such as {"timeout_after_charge": 0.1}')
    parser.add_argument("--latency-ms", type=float, default=0.0, help="delays every answer to a charge, undivided")
    parser.add_argument("--zombie-seconds", type=_positive, default=45.0, help="how long a swallowed charge travels")
    parser.add_argument(
        "--lookup-lag-seconds", type=_not_negative, default=0.0, help="how far look-ups and lists lag behind charges"
    )
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when the parent process is gone")
    return parser


def _not_negative(text: str) -> float:
    return 0.0 if float(text) == 0 else _positive(text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        message = f"{text} is not a positive number"
        raise argparse.ArgumentTypeError(message)
    return number


if __name__ == "__main__":
    sys.exit(main())
