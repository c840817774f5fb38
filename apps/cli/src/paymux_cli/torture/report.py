"""Tell a person what a run did and what it found."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from paymux_cli.torture.oracle import Crime, Finding
from paymux_cli.torture.plan import FAULTS, Plan
from paymux_cli.torture.run import CLOCKS, Story
from paymux_cli.torture.stack import DIVISOR
from paymux_core.clocks import CHECK_PAUSES_SECONDS

SHOWN_MAX = 20
"""Of each crime; the first payment to look at is what a person needs, and the home has the rest."""
_FAULTS = sorted({fault for merchant in FAULTS for account in merchant for fault in account})
_TITLES = {
    Crime.DOUBLE: "double charges",
    Crime.LOST: "lost payments",
    Crime.UNPAID: "unpaid successes",
    Crime.REGRESSED: "regressions",
    Crime.UNRESOLVED: "unresolved",
    Crime.TOO_LATE: "charges sent too late",
    Crime.MISANSWERED: "wrong answers",
    Crime.UNTOLD: "events not told",
    Crime.MISTOLD: "events told wrongly",
    Crime.VIOLATION: "invariants broken",
}


def tell(console: Console, plan: Plan, story: Story, findings: Sequence[Finding]) -> None:
    """Print the report."""
    _tell_run(console, plan, story)
    table = Table(title="what was found", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("what it counts")
    counts = Counter(finding.crime for finding in findings)
    for crime, title in _TITLES.items():
        number = counts[crime]
        table.add_row(title, f"[{'red' if number else 'green'}]{number}[/]", crime.value)
    console.print(table)
    for crime, title in _TITLES.items():
        _tell_findings(console, title, [finding for finding in findings if finding.crime is crime])


def _tell_run(console: Console, plan: Plan, story: Story) -> None:
    table = Table(title="torture", title_justify="left", show_header=False, show_edge=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in (*_clock_rows(), *_deed_rows(plan, story), *_book_rows(story)):
        table.add_row(name, value)
    console.print(table)
    console.print()


def _clock_rows() -> Iterator[tuple[str, str]]:
    clocks = CLOCKS
    pauses = ", ".join(f"{seconds / DIVISOR:.3g}" for seconds in CHECK_PAUSES_SECONDS[:6])
    limits = {
        "call": clocks.gateway_call,
        "request": clocks.request_budget,
        "first byte": clocks.first_byte,
        "first check": clocks.first_check,
        "charge window": clocks.charge_window,
        "lease": clocks.lease,
    }
    shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in limits.items())
    yield f"clocks / {DIVISOR:g}", f"{shown}; pauses of checks {pauses} … s; the sandbox's delays too"
    yield "deadline", f"{clocks.processing_deadline:.0f} s until a person is told"


def _deed_rows(plan: Plan, story: Story) -> Iterator[tuple[str, str]]:
    counts = story.counts
    doubts = sum(count for name, count in counts.items() if name.startswith("doubt"))
    refused = [f"{name} {count} times" for name, count in sorted(counts.items()) if name[0].isdigit()]
    kills = ", ".join(f"{victim} {count}" for victim, count in sorted(story.kills.items()))
    yield "seed", str(plan.seed)
    yield "time", f"{story.load_seconds:.0f} s of load, {story.quiet_seconds:.0f} s of quiet"
    yield "kills", f"{sum(story.kills.values())} by SIGKILL: {kills}"
    restarts = ", ".join(f"{victim} {ends - story.kills.get(victim, 0)}" for victim, ends in sorted(story.ends.items()))
    yield "other ends", f"{restarts}: a start while the database was away, and whatever nobody killed"
    pauses = " and ".join(f"{seconds:.1f} s" for seconds in story.paused_seconds)
    bursts = sum(len(pause.burst) for pause in plan.pauses)
    yield "pauses", f"the API stopped for {pauses}, with {bursts} payments on their way in"
    yield "requests", f"{counts.get('requests', 0)}; {doubts} got no answer and were sent again"
    yield "put off", ", ".join(refused) or "none"
    yield "replays", f"{story.replays} keys asked once more at the end"
    yield "looks", f"{story.looks} statuses seen by clients and by polling"


def _book_rows(story: Story) -> Iterator[tuple[str, str]]:
    evidence = story.evidence
    statuses = Counter(standing.status for standing in evidence.standings)
    reviews = Counter(standing.open_review for standing in evidence.standings if standing.open_review is not None)
    yield "payments", ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    yield "charges in the book", f"{len(evidence.charges)}; the gateways saw {len(evidence.requests)} requests"
    telling = evidence.telling
    yield (
        "events",
        f"{telling.events} to merchants, in {telling.deliveries} deliveries; {telling.waiting} wait for a later try",
    )
    yield "webhooks", f"{evidence.webhooks} from the gateways: {', '.join(_FAULTS)}, and without fault"
    yield "open reviews", ", ".join(f"{count} {reason}" for reason, count in reviews.most_common()) or "0"


def _tell_findings(console: Console, title: str, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    console.print(f"\n[red]{title}[/]")
    for finding in findings[:SHOWN_MAX]:
        console.print(f"  {finding.payment_id or '-'}  {finding.detail}", markup=False, soft_wrap=True)
    if len(findings) > SHOWN_MAX:
        console.print(f"  … and {len(findings) - SHOWN_MAX} more")
