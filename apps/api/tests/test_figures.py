"""What `/metrics` shows of the book is read every few seconds at most; a source in trouble leaves the last figures."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from paymux_api import figures
from paymux_api.figures import REMEMBER_SECONDS, BookMeasures
from paymux_core.operating import Figure, Figures


@dataclass(slots=True)
class Source:
    """The port where figures are read, and how often it was asked."""

    asked: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def figures(self, *, at: datetime) -> Figures:
        """Give figures, once it may."""
        self.asked += 1
        await self.answers.wait()
        read = [
            Figure("paymux_open_reviews", "Questions", "reason", {"deadline": float(self.asked)}),
            Figure("paymux_oldest_unknown_seconds", "Age", None, {"": 7.0}),
        ]
        return Figures(read, ["paymux_checks"])


def shown(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


async def test_a_crowd_is_one_question_and_figures_are_remembered(clock: Any) -> None:
    source, registry = Source(), CollectorRegistry()
    measures = BookMeasures(registry, source, clock=clock)
    assert shown(registry) == [], "nothing was read yet"
    crowd = [asyncio.ensure_future(measures.gather()) for _ in range(10)]
    source.answers.set()
    await asyncio.gather(*crowd)
    clock.seconds += REMEMBER_SECONDS - 1
    await measures.gather()
    assert source.asked == 1
    assert shown(registry) == [
        'paymux_open_reviews{reason="deadline"} 1.0',
        "paymux_oldest_unknown_seconds 7.0",
        'paymux_figures_missing{figure="paymux_checks"} 1.0',
        "paymux_figures_age_seconds 4.0",
    ]
    clock.seconds += 1
    await measures.gather()
    assert source.asked == 2


async def test_a_source_that_does_not_answer_leaves_the_last_figures_and_their_age(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, registry = Source(), CollectorRegistry()
    measures = BookMeasures(registry, source, clock=clock)
    source.answers.set()
    await measures.gather()
    monkeypatch.setattr(figures, "SECONDS_MAX", 0.01)
    source.answers.clear()
    clock.seconds += 60
    await measures.gather()
    assert source.asked == 2
    assert "paymux_figures_age_seconds 60.0" in shown(registry)
    assert "paymux_oldest_unknown_seconds 7.0" in shown(registry)
