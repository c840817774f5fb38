"""Render docs/reference from the code: states, error codes, gateways' capabilities, the OpenAPI document.

`make reference` writes the pages; a test holds what is committed equal to what is rendered.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from paymux_api.app import render_contract
from paymux_api.problems import PROBLEMS
from paymux_api.routes.contract import OPERATIONS
from paymux_connectors.registry import CONNECTORS
from paymux_core.connector import Capabilities
from paymux_core.currencies import CURRENCY_EXPONENTS
from paymux_core.outcomes import DeclineCode
from paymux_core.transitions import (
    ATTEMPT_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    AttemptEvent,
    AttemptStatus,
    PaymentEvent,
    PaymentStatus,
)

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
Transitions: TypeAlias = (
    Mapping[PaymentStatus | None, Mapping[PaymentEvent, PaymentStatus]]
    | Mapping[AttemptStatus | None, Mapping[AttemptEvent, AttemptStatus]]
)
_WRITTEN = "Written by `make reference` from"


def pages() -> dict[str, bytes]:
    """Render every page by its file name."""
    texts = {"states.md": _states(), "errors.md": _errors(), "gateways.md": _gateways()}
    return {name: text.encode() for name, text in texts.items()} | {"openapi.json": render_contract(OPERATIONS)}


def _states() -> str:
    parts = [f"# States\n\n{_WRITTEN} `paymux_core.transitions`; what is not listed does not exist.\n"]
    tables: Sequence[tuple[str, Transitions]] = (("Payment", PAYMENT_TRANSITIONS), ("Attempt", ATTEMPT_TRANSITIONS))
    for title, table in tables:
        parts.append(f"## {title}\n\n{_diagram(table)}\n\n{_transitions(table)}\n")
    return "\n".join(parts)


def _diagram(table: Transitions) -> str:
    lines = [
        f"    {source or '[*]'} --> {target}: {event}"
        for source, exits in table.items()
        for event, target in exits.items()
    ]
    ends = [f"    {source} --> [*]" for source, exits in table.items() if not exits]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *ends, "```"])


def _transitions(table: Transitions) -> str:
    rows = [
        (f"`{source}`" if source else "(not born)", f"`{event}`", f"`{target}`")
        for source, exits in table.items()
        for event, target in exits.items()
    ]
    return _table(("from", "event", "to"), rows)


def _errors() -> str:
    problems = [
        (f"`{code}`", str(kind.status), kind.title, kind.remedy.replace("|", "\\|")) for code, kind in PROBLEMS.items()
    ]
    return "\n".join([
        "# Error codes",
        "",
        f"{_WRITTEN} `paymux_api.problems` and `paymux_core.outcomes`. Act on `code`; other words may change.",
        "",
        "## Refusals: `application/problem+json`",
        "",
        _table(("code", "status", "title", "what to do"), problems),
        "",
        "## Declines: `last_error.code` of a payment, `error.code` of an attempt",
        "",
        *(f"- `{code}`" for code in DeclineCode),
        "",
    ])  # fmt: skip


def _gateways() -> str:
    names = Capabilities.__struct_fields__
    rows = [
        (f"`{name}`", *(_shown(getattr(connector.capabilities, field)) for field in names))
        for name, connector in CONNECTORS.items()
    ]
    turned = [(f"`{name}`", *(row[place] for row in rows)) for place, name in enumerate(names, start=1)]
    return "\n".join([
        "# Gateways",
        "",
        f"{_WRITTEN} `paymux_connectors.registry`: what the core may rely on. Durations in seconds.",
        "",
        _table(("capability", *(row[0] for row in rows)), turned),
        "",
    ])  # fmt: skip


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        # The only sets are of currencies; empty means every one of them.
        missing = CURRENCY_EXPONENTS.keys() - value
        if not value or not missing:
            return "all"
        return f"all but {_listed(missing)}" if len(missing) < len(value) else _listed(value)
    return str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in pages().items():
        (FOLDER / name).write_bytes(content)
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
