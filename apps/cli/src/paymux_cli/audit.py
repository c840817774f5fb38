"""`paymux audit verify`: a bundle in a file, or the seals of the database."""

import re
from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from paymux_cli.manage import command_stack
from paymux_cli.refusals import DoesNotFit, NotPossible, WrongArgument
from paymux_core.bundles import BUNDLE_BYTES_MAX, BundleRefused, verify_bundle
from paymux_core.seals import BrokenSeal, Seal

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


def verify_file(file: Path) -> str:
    """Check a bundle. Raises: DoesNotFit, NotPossible."""
    try:
        with file.open("rb") as opened:
            content = opened.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise NotPossible(f"{file}: cannot be read: {error.strerror or error}") from error
    try:
        checked = verify_bundle(content)
    except BundleRefused as refused:
        raise DoesNotFit(f"{file}: {refused}") from None
    return f"{file}: whole, {checked.payment_id} with {checked.rows} rows; root {checked.root}"


async def verify_database(environment: Mapping[str, str], *, head: str | None) -> str:
    """Check every seal. Raises: DoesNotFit, WrongArgument, and as open_stack."""
    expected = None if head is None else _parse_head(head)
    found_head = expected is None
    last: Seal | None = None
    rows = 0
    async with command_stack(environment) as (stack, _):
        total = await stack.store.audit.count()
        with _progress() as progress:
            task = progress.add_task("blocks", total=total)
            async for seal, wrong in stack.store.audit.verify(stack.deps.clock.now()):
                if wrong is not None:
                    raise DoesNotFit(_sentence(seal, wrong))
                if expected is not None and seal.block == expected[0]:
                    if seal.hash.hex() != expected[1]:
                        raise DoesNotFit(
                            f"block {seal.block} is another one than was logged: its hash is {seal.hash.hex()}"
                        )
                    found_head = True
                last, rows = seal, rows + seal.rows + seal.interactions
                progress.advance(task)
    if not found_head:
        assert expected is not None
        raise DoesNotFit(f"block {expected[0]} was logged and is not there: the chain was cut")
    if last is None:
        return "nothing is sealed yet"
    return f"{last.block} blocks with {rows} rows are whole; head {last.block}:{last.hash.hex()}"


def _sentence(seal: Seal, wrong: BrokenSeal) -> str:
    return f"block {wrong.block}, sealed {seal.sealed_at.isoformat()}: {wrong.what}"


def _parse_head(head: str) -> tuple[int, str]:
    match = _HEAD.fullmatch(head)
    if match is None:
        raise WrongArgument("--head: give a block and its hash as the log has them, 12:9f86d0…")
    return int(match[1]), match[2]


def _progress() -> Progress:
    from rich.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
