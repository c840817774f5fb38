"""Run localstripe, a stand-in for Stripe that others wrote, as a process; read it with Stripe's official client.

It is GPL: it lives in an environment of its own, speaks HTTP on 127.0.0.1, and no code of ours imports it.
"""

import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import stripe

from paymux_cli.processes import die_with_parent, free_port

SERVER = Path(__file__).resolve().parents[2] / ".venv-localstripe" / "bin" / "gunicorn"
SECRET_KEY = "sk_test_localstripe"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
# Numbers that localstripe scripts: docs.stripe.com/testing has the same.
CARD_THAT_ASKS_FOR_AUTHENTICATION = "4000002500003155"
CARD_DECLINED_AFTER_AUTHENTICATION = "4000008260003178"


class LocalstripeDidNotStart(Exception):
    """The process ended or did not answer; the message holds the end of its log."""


class Localstripe:
    """A running localstripe, and its own book as the oracle. Skips, aloud, where it is not installed."""

    def __init__(self, home: Path) -> None:
        if not SERVER.exists():
            pytest.skip("localstripe is not installed (scripts/localstripe.sh): Stripe is not proven against it")
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home / "localstripe.log"
        command = [
            str(SERVER), "localstripe.server:app", "--worker-class", "aiohttp.GunicornWebWorker", "--workers", "1",
            "--bind", f"127.0.0.1:{self.port}", "--no-control-socket", "--timeout", "0",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one call of the kernel, no lock is taken
            )
        self._wait_until_it_answers()
        self.client = stripe.StripeClient(
            SECRET_KEY,
            base_addresses={"api": self.url, "connect": self.url, "files": self.url, "meter_events": self.url},
            max_network_retries=0,
            http_client=stripe.RequestsClient(),
        )

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS_MAX)

    def card(self, number: str) -> str:
        """Store a card; gives its token."""
        # The client's types want what Stripe's own page collects; a number is what localstripe scripts by.
        fields = {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2034, "cvc": "123"}}
        return self.client.v1.payment_methods.create(fields).id  # type: ignore[arg-type]

    def intents(self, payment_id: str) -> list[stripe.PaymentIntent]:
        """List what was reserved for a payment."""
        every = self.client.v1.payment_intents.list({"limit": 100}).auto_paging_iter()
        return [intent for intent in every if intent.metadata["payment_id"] == payment_id]

    def charges(self, payment_id: str) -> list[stripe.Charge]:
        """List the charges of a payment that took money."""
        of_payment = {intent.id for intent in self.intents(payment_id)}
        every = self.client.v1.charges.list({"limit": 100}).auto_paging_iter()
        return [charge for charge in every if charge.payment_intent in of_payment and charge.status == "succeeded"]

    def authenticate(self, payment_id: str, *, outcome: str) -> None:
        """Do in the customer's browser what 3-D Secure asks for: `success` is "true" or "false"."""
        (intent,) = self.intents(payment_id)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(
            "POST",
            f"/v1/payment_intents/{intent.id}/_authenticate",
            body=f"key=pk_test_localstripe&client_secret={intent.client_secret}&success={outcome}",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        status = connection.getresponse().status
        connection.close()
        assert status in {200, 402}, status

    def _wait_until_it_answers(self) -> None:
        ends_at = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self._process.kill()
                raise LocalstripeDidNotStart(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/v1/charges", headers={"Authorization": f"Bearer {SECRET_KEY}"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
