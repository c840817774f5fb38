"""What operators are told of the store."""

from datetime import datetime
from typing import Protocol

from paymux_core.operating import Figures


class Operating(Protocol):
    """Figures for those who watch."""

    async def figures(self, *, at: datetime) -> Figures:
        """Read every figure, each within its time."""
        ...
