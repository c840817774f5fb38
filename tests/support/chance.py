"""Randomness and ids that a seed repeats, behind the product's ports."""

import random
from dataclasses import dataclass
from uuid import UUID

from paymux_core.ids import uuid7
from paymux_core.ports import Clock
from paymux_postgres.sealing import Sealer


class SeededRng:
    """Randomness of a seed, or of a generator that others share."""

    def __init__(self, seed: str | random.Random) -> None:
        self._random = seed if isinstance(seed, random.Random) else random.Random(seed)

    def uniform(self) -> float:
        return self._random.random()

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)


@dataclass(slots=True)
class SeededIds:
    """Ids of a clock and a seed."""

    clock: Clock
    rng: SeededRng

    def new(self) -> UUID:
        return uuid7(int(self.clock.now().timestamp() * 1000), self.rng.bits(74))


TEST_SEALER = Sealer(bytes(32))
"""Of no secret that is worth anything."""
