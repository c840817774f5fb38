"""Speak to the sandbox gateway without any connector: what tests of the sandbox itself, and of its oracle, use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

ANSWER_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class GatewayReply:
    """One answer, as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> dict[str, object]:
        """Read the body as JSON. Raises: ValueError."""
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content

    def error_code(self) -> object:
        """Read the code of an error."""
        error = self.content()["error"]
        assert isinstance(error, dict)
        return error["code"]


@dataclass(frozen=True, slots=True)
class SandboxClient:
    """One gateway of a sandbox. A new connection per request; HTTPException and OSError are the caller's to expect."""

    url: str
    gateway: str = "mock"
    api_key: str = "sandbox_key"

    def charge(self, token: str, *, key: str, attempt_id: str | None = None, **fields: object) -> GatewayReply:
        """Charge 10.50 USD; `fields` replace what the request would hold. Without `attempt_id`, it is the key."""
        body: dict[str, object] = {
            "payment_id": f"payment of {key}",
            "attempt_id": key if attempt_id is None else attempt_id,
            "amount": 1050,
            "currency": "USD",
            "capture": True,
            "token": token,
            "metadata": {},
        }
        return self.post("/charges", body | fields, key=key)

    def fence(self, charge_key: str, *, key: str, attempt_id: str | None = None) -> GatewayReply:
        """Fence the key of a charge."""
        body = {"attempt_id": charge_key if attempt_id is None else attempt_id, "idempotency_key": charge_key}
        return self.post("/fences", body, key=key)

    def charges_of_attempt(self, attempt_id: str) -> list[dict[str, object]]:
        """Look an attempt up by our reference."""
        charges = self.get("/charges", attempt_id=attempt_id).content()["data"]
        assert isinstance(charges, list)
        return charges

    def post(self, path: str, body: Mapping[str, object], *, key: str | None) -> GatewayReply:
        """Send a POST below the version."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self._exchange("POST", path, json.dumps(body).encode(), headers)

    def get(self, path: str, **query: str) -> GatewayReply:
        """Send a GET below the version."""
        return self._exchange("GET", f"{path}?{urlencode(query)}" if query else path, b"", {})

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> GatewayReply:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=ANSWER_SECONDS_MAX)
        try:
            authorization = {"Authorization": f"Bearer {self.api_key}"}
            connection.request(method, f"/{self.gateway}/v1{path}", body, {**authorization, **headers})
            answer = connection.getresponse()
            return GatewayReply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()
