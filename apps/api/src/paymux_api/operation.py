"""How a route is declared: once, with everything the layer, the documentation and the tests need to know."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec
from msgspec import Struct

from paymux_core.api_keys import Scope
from paymux_core.ids import Kind
from paymux_flows.commands import Caller, KeyUse, Reply


class KeyRule(StrEnum):
    """What a route wants of the `Idempotency-Key` header."""

    REQUIRED = "required"
    REQUIRED_TO_CONFIRM = "required_to_confirm"
    """Required when the body says `confirm: true`, else accepted."""
    ACCEPTED = "accepted"
    NONE = "none"
    """Not read."""


class Charges(StrEnum):
    """Whether a request counts against the merchant's confirms per second."""

    ALWAYS = "always"
    WITH_CONFIRM = "with_confirm"
    """Only when the body says `confirm: true`."""
    NEVER = "never"


class Empty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is sent."""


class Received(Struct, frozen=True, gc=False):
    """A body as it came, and every header by lower-case name; one that came twice is joined by commas."""

    body: bytes
    headers: Mapping[str, str]


class Call(Struct, frozen=True):
    """A request that passed every check of the layer; what a handler gets. `deps` is the flows' and opaque here."""

    caller: Caller | None
    object_id: UUID | None
    number: int
    """What follows the id in the path, where the object's ids have a number; else 0."""
    body: msgspec.Struct
    query: msgspec.Struct
    filters: Mapping[str, str]
    key: KeyUse | None
    deps: object
    received: Received | None = None
    """What came, byte for byte, of a route that takes raw bodies."""

    @property
    def authenticated(self) -> Caller:
        """Give the caller of a route that has a scope."""
        assert self.caller is not None
        return self.caller

    @property
    def target(self) -> UUID:
        """Give the id in the path of a route that has one."""
        assert self.object_id is not None
        return self.object_id


Handler = Callable[[Call], Coroutine[object, object, Reply]]
Check = Callable[[msgspec.Struct, msgspec.Struct, Mapping[str, str]], None]
Exists = Callable[[Caller, UUID, object], Awaitable[bool]]
NumberedExists = Callable[[Caller, UUID, int, object], Awaitable[bool]]
ParseId = Callable[[str], tuple[UUID, int] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `problems` are the codes beyond those that follow from the other fields."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    success: Mapping[int, str]
    scope: Scope | None
    """None: open to everybody."""
    description: str = ""
    tag: str = "payments"
    request: type[msgspec.Struct] = Empty
    example: Mapping[str, object] | None = None
    """A body that works with the sandbox."""
    query: type[msgspec.Struct] = Empty
    filter_prefix: str | None = None
    """Query parameters that start so are collected into `Call.filters`: `metadata.`."""
    response: type[msgspec.Struct] | None = None
    or_response: type[msgspec.Struct] | None = None
    """What a parameter of the query asks for instead."""
    content_type: str = "application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Beyond those every answer carries."""
    problems: Sequence[str] = ()
    links: Sequence[str] = ()
    """Operations that take the id of the object in the answer."""
    raw_body: bool = False
    """The body is not parsed here, but handed on as it came."""
    key_rule: KeyRule = KeyRule.NONE
    charges: Charges = Charges.NEVER
    object_kind: Kind | None = None
    check: Check | None = None
    """What types cannot say, about body, query and filters. Raises: ValidationFailed."""
    exists: Exists | None = None
    """Asked only when a body is refused, so that a missing object is 404 before 422 without a look-up each time."""
    parse_id: ParseId | None = None
    """Reads the ids of objects that have a number behind their id; None: they have none."""
    numbered_exists: NumberedExists | None = None

    def __post_init__(self) -> None:
        """Refuse a declaration that contradicts itself."""
        assert (self.object_kind is not None) == ("{id}" in self.path), self.name
        assert self.charges is Charges.NEVER or self.scope is not None, self.name
        assert self.request is Empty or (self.reads_body and not self.raw_body), self.name

    @property
    def reads_body(self) -> bool:
        """Whether the method carries a body."""
        return self.method in ("POST", "PUT", "PATCH")

    def charges_with(self, fields: object) -> bool:
        """Say whether a request with these fields opens an attempt."""
        if self.charges is Charges.ALWAYS:
            return True
        return self.charges is Charges.WITH_CONFIRM and asks_to_confirm(fields)

    def key_required_with(self, fields: object) -> bool:
        """Say whether a request with these fields needs a key."""
        if self.key_rule is KeyRule.REQUIRED:
            return True
        return self.key_rule is KeyRule.REQUIRED_TO_CONFIRM and asks_to_confirm(fields)


def asks_to_confirm(fields: object) -> bool:
    """Say whether a body says `confirm: true`."""
    return isinstance(fields, dict) and fields.get("confirm") is True
