"""Reviews, the timeline and its bundle over HTTP, and the command that checks what was written."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest

from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_public_id, public_id, uuid7
from tests.support.http import Merchant, eventually
from tests.support.stack import SCOPES, Stack

DONE = {"evidence": "the gateway's dashboard", "actor": "Ann"}


@pytest.fixture(scope="module")
def desk(stack: Stack) -> Merchant:
    """A merchant whose key may answer reviews."""
    return stack.new_merchant(scopes=SCOPES | {Scope.REVIEWS_READ, Scope.REVIEWS_RESOLVE})


async def under_review(stack: Stack, desk: Merchant, reason: str = "deadline") -> tuple[str, str]:
    """Confirm a payment that stays pending at the gateway, and call a person about it."""
    payment_id = await desk.new_payment("sandbox_pending_always")
    await desk.confirm(payment_id, key=f"reviewed-{payment_id}")
    payment = parse_public_id(Kind.PAYMENT, payment_id)
    assert payment is not None
    review = UUID(int=uuid7(1_800_000_000_000, 0).int + payment.int % (1 << 62))
    await stack.fetch(
        "insert into reviews (merchant_id, id, payment_id, attempt_number, reason, status, opened_at) "
        "select merchant_id, $2, id, 1, $3, 'open', created_at from payments where id = $1",
        payment,
        review,
        reason,
    )
    return payment_id, public_id(Kind.REVIEW, review)


async def test_a_review_is_listed_read_and_resolved_once(stack: Stack, desk: Merchant) -> None:
    payment_id, review_id = await under_review(stack, desk)
    listed = await desk.get(f"/reviews?status=open&reason=deadline&payment_id={payment_id}")
    assert [review["id"] for review in listed.content["data"]] == [review_id]  # type: ignore[attr-defined]
    read = await desk.get(f"/reviews/{review_id}")
    assert (read.content["payment_id"], read.content["status"]) == (payment_id, "open")
    path = f"/reviews/{review_id}/resolve"
    assert (await desk.post(path, {"action": "dismiss", **DONE})).code == "action_not_allowed"
    assert (await desk.post(path, {"action": "refund", **DONE})).status == 409
    refused = await desk.post(path, {"action": "mark_succeeded", "provider_reference": "ch_1", **DONE})
    assert (refused.status, refused.code) == (409, "action_not_allowed") or refused.code == "validation_failed"
    first = await desk.post(path, {"action": "void", **DONE}, key="void-1")
    again = await desk.post(path, {"action": "void", **DONE}, key="void-1")
    assert (first.status, first.content["resolution"], first.content["actor"]) == (200, "void", "Ann")
    assert (again.body, again.is_replay) == (first.body, True)
    assert (await desk.post(path, {"action": "void", **DONE}, key="void-2")).code == "action_not_allowed"
    assert (
        await desk.post("/payments", {"amount": 1, "currency": "eur"}, key="void-1")
    ).code == "idempotency_key_reused"
    assert (await desk.payment(payment_id))["status"] == "failed"
    assert (await desk.payment(payment_id))["review"] is None


async def test_pages_show_every_review_once(stack: Stack, desk: Merchant) -> None:
    made = {(await under_review(stack, desk, "handler_failed"))[1] for _ in range(3)}
    seen: list[str] = []
    start = ""
    while True:
        page = (await desk.get(f"/reviews?limit=2&reason=handler_failed{start}")).content
        seen += [review["id"] for review in page["data"]]  # type: ignore[attr-defined]
        if not page["has_more"]:
            break
        start = f"&starting_after={page['next_cursor']}"
    assert (set(seen), len(seen), seen) == (made, 3, sorted(seen, reverse=True))


async def test_a_review_is_for_those_who_may(stack: Stack, desk: Merchant, other_shop: Merchant) -> None:
    _, review_id = await under_review(stack, desk)
    stranger = stack.new_merchant(scopes=SCOPES | {Scope.REVIEWS_READ, Scope.REVIEWS_RESOLVE})
    assert (await stranger.get(f"/reviews/{review_id}")).status == 404
    assert (await stranger.post(f"/reviews/{review_id}/resolve", {"action": "void", **DONE})).status == 404
    assert (await stranger.post(f"/reviews/{review_id}/resolve", {"action": 1})).status == 404
    assert (await other_shop.get(f"/reviews/{review_id}")).code == "permission_denied"
    assert (await other_shop.post(f"/reviews/{review_id}/resolve", {"action": "void", **DONE})).status == 403
    assert (
        await desk.post(f"/reviews/{review_id}/resolve", {"action": "void", "actor": "x"})
    ).code == "validation_failed"
    hostile = {"action": "mark_succeeded", **DONE, "provider_reference": "../../x"}
    assert (await desk.post(f"/reviews/{review_id}/resolve", hostile)).content["param"] == "provider_reference"


async def test_the_timeline_is_one_list_in_one_order(stack: Stack, desk: Merchant) -> None:
    payment_id, review_id = await under_review(stack, desk)
    await desk.post(f"/reviews/{review_id}/resolve", {"action": "void", **DONE})
    entries = (await desk.get(f"/payments/{payment_id}/timeline")).content["data"]
    assert isinstance(entries, list)
    order = [(entry["recorded_at"], entry["position"], entry["id"]) for entry in entries]
    assert order == sorted(order)
    kinds = [entry["kind"] for entry in entries]
    assert (kinds[0], entries[0]["event"]["type"]) == ("event", "payment.created")
    assert kinds.count("attempt") == 1
    attempt = entries[kinds.index("attempt")]["attempt"]
    assert (attempt["gateway"], attempt["routing"]["reason"]) == ("mock", "priority")
    verbs = [entry["interaction"]["verb"] for entry in entries if entry["interaction"]]
    assert (verbs[0], verbs[-1]) == ("charge", "fence")
    acted = next(entry for entry in entries if entry["event"] and entry["event"]["type"] == "review.void")
    assert acted["event"]["action"]["actor"] == "Ann"
    assert acted["event"]["action"]["review_id"] == review_id
    assert acted["cause"]["api_key_id"] == desk.api_key.split("_")[2]
    assert acted["cause"]["request_id"].startswith("req_")
    paged: list[object] = []
    start = ""
    while True:
        page = (await desk.get(f"/payments/{payment_id}/timeline?limit=2{start}")).content
        assert isinstance(page["data"], list)
        paged += page["data"]
        if not page["has_more"]:
            break
        start = f"&starting_after={page['next_cursor']}"
    assert paged == entries


async def test_a_bundle_is_the_same_each_time_and_checks_itself(
    stack: Stack, desk: Merchant, other_shop: Merchant, tmp_path: Path
) -> None:
    payment_id, review_id = await under_review(stack, desk)
    await desk.post(f"/reviews/{review_id}/resolve", {"action": "void", **DONE})
    path = f"/payments/{payment_id}/timeline?format=bundle"
    bundle = await desk.get(path)
    assert (await desk.get(path)).body == bundle.body
    assert (await other_shop.get(path)).status == 404
    content = bundle.content
    assert content["payment"]["id"] == payment_id  # type: ignore[index]
    tables = {row["row"]["table"] for row in content["rows"]}  # type: ignore[attr-defined]
    assert tables == {"payment_events", "payment_attempts", "gateway_interactions", "reviews"}
    file = tmp_path / "bundle.json"
    file.write_bytes(bundle.body)
    whole = paymux("audit", "verify", str(file), environment=stack.environment)
    assert (whole.returncode, payment_id in whole.stdout) == (0, True)
    at = bundle.body.index(b'"amount"') + 10
    file.write_bytes(bundle.body[:at] + bytes((bundle.body[at] ^ 1,)) + bundle.body[at + 1 :])
    altered = paymux("audit", "verify", str(file), environment=stack.environment)
    assert (altered.returncode, altered.stdout) == (1, "")
    assert "paymux: " in altered.stderr
    assert paymux("audit", "verify", str(tmp_path / "none"), environment=stack.environment).returncode == 1


async def test_the_worker_seals_and_the_command_checks_the_seals(stack: Stack, desk: Merchant) -> None:
    await desk.new_payment("sandbox_approve")

    async def head() -> object:
        rows = await stack.fetch(
            "select block, encode(hash, 'hex') as hash from audit_seals order by block desc limit 1"
        )
        return f"{rows[0]['block']}:{rows[0]['hash']}" if rows else None

    logged = str(await eventually(head, bool))
    checked = paymux("audit", "verify", "--head", logged, environment=stack.environment)
    assert (checked.returncode, "are whole; head " in checked.stdout) == (0, True), checked.stderr
    assert "audit.sealed" in stack.worker.log.read_text()
    block, _, digest = logged.partition(":")
    for wrong in (f"{block}:{digest[::-1]}", f"{int(block) + 1000}:{digest}"):
        assert paymux("audit", "verify", "--head", wrong, environment=stack.environment).returncode == 1
    assert paymux("audit", "verify", "--head", "x", environment=stack.environment).returncode == 2


def paymux(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "paymux_cli.main", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
