"""The running API does what its OpenAPI document says, whatever Schemathesis thinks of sending it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paymux_api.routes.contract import OPERATIONS
from paymux_core.api_keys import Scope
from tests.support.http import Merchant
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 110
SOAK_SECONDS_MAX = 1200
SEED = os.environ.get("PAYMUX_SEED", "1")


@pytest.mark.slow
def test_the_running_api_keeps_its_document(stack: Stack, tmp_path: Path) -> None:
    report = _examined(stack, tmp_path, examples=10, seconds=SECONDS_MAX)
    assert report["operations"]["tested"] == report["operations"]["total"] >= len(OPERATIONS)


@pytest.mark.soak
def test_the_running_api_keeps_its_document_for_long(stack: Stack, tmp_path: Path) -> None:
    report = _examined(stack, tmp_path, examples=50, seconds=SOAK_SECONDS_MAX)
    assert report["phases"]["stateful"] == {"status": "success", "skip_reason": None}


async def test_the_document_that_is_served_is_the_committed_one(shop: Merchant) -> None:
    served = await shop.get("/openapi.json")
    committed = ROOT / "docs" / "reference" / "openapi.json"
    assert served.body == committed.read_bytes(), "run `make reference`"


def _examined(stack: Stack, folder: Path, *, examples: int, seconds: float) -> dict[str, Any]:
    """Run Schemathesis with every check and a key that may do everything; give its report."""
    key = stack.new_merchant(scopes=frozenset(Scope)).api_key
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{stack.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--max-examples", str(examples), "--seed", SEED, "--no-shrink", "--continue-on-failure"),
        # Our own check takes the place of the excluded one.
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        # NUL is refused, which each schema would have to say; hostile bodies have tests of their own.
        *("--generation-allow-x00", "false"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.e2e.contract_checks", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    content = json.loads(report.read_text())
    assert content["failures"] == content["errors"] == []
    assert isinstance(content, dict)
    return content
