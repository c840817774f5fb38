"""Show the book as a page, for people."""

from collections.abc import Iterable, Sequence
from html import escape

from .delays import iso_time
from .ledger import Charge, Ledger
from .request_log import RequestLog, SeenRequest

ROWS_MAX = 200

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sandbox gateway: the book</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1d1d1f; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e3e3e8; overflow-wrap: anywhere; }}
th {{ background: #f5f5f7; position: sticky; top: 0; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body>
<h1>The book of the sandbox gateway</h1>
<p>What was really charged, and every request that came in. The newest {rows_max} of each are shown;
all of it is at <a href="/book/charges">/book/charges</a> and <a href="/book/requests">/book/requests</a>.</p>
<h2>Charges ({charge_count})</h2>
<table><thead><tr><th>At</th><th>Gateway</th><th>Charge</th><th>Payment</th><th>Attempt</th><th>Status</th>
<th class="number">Amount</th><th class="number">Captured</th><th class="number">Refunded</th><th>Currency</th>
<th>Idempotency key</th></tr></thead><tbody>{charges}</tbody></table>
<h2>Requests ({request_count})</h2>
<table><thead><tr><th>At</th><th>Request</th><th>Idempotency key</th><th>Payment</th><th>Attempt</th><th>Answer</th>
<th>What it did</th></tr></thead><tbody>{requests}</tbody></table>
</body></html>
"""


def book_page(ledger: Ledger, seen: RequestLog) -> bytes:
    """Write the page."""
    page = _PAGE.format(
        rows_max=ROWS_MAX,
        charge_count=ledger.booked_count(),
        charges=_rows(map(_charge_cells, ledger.newest_booked(ROWS_MAX))),
        request_count=seen.count(),
        requests=_rows(map(_request_cells, seen.newest(ROWS_MAX))),
    )
    return page.encode(errors="backslashreplace")


def _charge_cells(charge: Charge) -> Sequence[object]:
    assert charge.booked_at is not None
    return (
        iso_time(charge.booked_at),
        charge.gateway,
        charge.id,
        charge.payment_id,
        charge.attempt_id,
        charge.status.value,
        charge.amount,
        charge.captured,
        charge.refunded,
        charge.currency,
        charge.idempotency_key,
    )


def _request_cells(request: SeenRequest) -> Sequence[object]:
    return (
        iso_time(request.at),
        f"{request.method} {request.path}",
        request.idempotency_key or "",
        request.payment_id or "",
        request.attempt_id or "",
        request.status or "none",
        request.did,
    )


def _rows(rows: Iterable[Sequence[object]]) -> str:
    return "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int) else ""
    return f"<td{kind}>{escape(str(value))}</td>"
