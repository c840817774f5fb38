"""Recorded answers of a gateway, and how an exchange is played against them without a network."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paymux_core.exchange import Answer, Exchange, HttpReply, HttpRequest, NoReply, Remember, TransportError
from paymux_core.money import Money
from paymux_core.outcomes import Outcome, Unknown, UnknownReason

STEPS_MAX = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """A recorded course of one exchange: the answers in the order of the requests, and what they mean."""

    replies: Sequence[HttpReply]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recordings:
    """What a gateway really answers, for the kit's call.

    `charged` and `looked_up` are the courses of a charge that went through and of the look-up after it; `same` pairs a
    course of `authorize` with one of `inquire` that shows the same state. `unheard_of` turns the last answer of a
    course into one with a status nobody knows; `charged_for` records `charged` for other money.
    """

    charged: Scenario
    looked_up: Scenario
    absent: Scenario
    fenced: Scenario
    same: Mapping[str, tuple[Scenario, Scenario]]
    unheard_of: Callable[[Answer], Answer]
    charged_for: Callable[[Money], Scenario]
    in_flight: Answer
    certified_429: Answer | None


@dataclass(slots=True)
class Played:
    """What an exchange did when the kit played its gateway."""

    outcome: Outcome
    requests: list[HttpRequest] = field(default_factory=list)
    remembered: list[tuple[int, str]] = field(default_factory=list)
    """How many requests had gone out before, and the id."""


def play(exchange: Exchange, replies: Sequence[HttpReply]) -> Played:
    """Answer an exchange from a list; what asks on after its end gets no reply. Raises: AssertionError for a loop."""
    played = Played(Unknown(UnknownReason.UNCLASSIFIED))
    reply: HttpReply | None = None
    for _ in range(STEPS_MAX):
        try:
            step = exchange.send(reply)
        except StopIteration as stop:
            played.outcome = stop.value
            return played
        if isinstance(step, Remember):
            played.remembered.append((len(played.requests), step.provider_payment_id))
            reply = None
        else:
            place = len(played.requests)
            played.requests.append(step)
            reply = replies[place] if place < len(replies) else NoReply(TransportError.TIMEOUT)
    message = f"the exchange asked for more than {STEPS_MAX} steps"
    raise AssertionError(message)


def json_answer(status: int, document: object, **headers: str) -> Answer:
    """Build an answer from a document."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **named}, json.dumps(document).encode())
