"""What merchants were told, held against the log: each event reaches its endpoint, and the feed has each one once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from paymux_cli.torture.receivers import Receivers
from paymux_core.ids import Kind, public_id
from paymux_postgres.inspection import PublicEvent
from paymux_testkit.merchant_client import Merchant

_PAGE = 100
_Known = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Telling:
    """How many events were told, in how many deliveries; what still waits for its next try; what was wrong."""

    events: int
    deliveries: int
    waiting: int
    untold: Sequence[tuple[str, str]]
    mistold: Sequence[tuple[str, str]]


async def subscribe(merchants: Sequence[Merchant], receivers: Receivers) -> None:
    """Let each merchant register its receiver. Raises: RuntimeError where that is refused."""
    for number, merchant in enumerate(merchants):
        reply = await merchant.post("/webhook_endpoints", {"url": receivers.url(number)})
        if reply.status != 201:  # noqa: PLR2004  HTTP's own number
            message = f"no endpoint for merchant {number}: {reply.status} {reply.body.decode(errors='replace')}"
            raise RuntimeError(message)
        receivers.inboxes[number].secret = str(reply.content["secret"])


async def read_feed(merchant: Merchant) -> list[_Known]:
    """Read a merchant's whole feed from the beginning: payment and sequence of each event of a payment."""
    known: list[_Known] = []
    cursor = ""
    while True:
        reply = await merchant.get(f"/events?limit={_PAGE}" + (f"&after={cursor}" if cursor else ""))
        if reply.status != 200:  # noqa: PLR2004  HTTP's own number
            message = f"the feed answered {reply.status} {reply.body.decode(errors='replace')}"
            raise RuntimeError(message)
        page = reply.content
        data = page["data"]
        assert isinstance(data, list)
        known += [(event["payment_id"], event["sequence"]) for event in data if event["payment_id"]]
        cursor = str(page["next_cursor"] or cursor)
        if not page["has_more"]:
            return known


async def hold_against(log: Sequence[PublicEvent], merchants: Sequence[Merchant], receivers: Receivers) -> Telling:
    """Compare what every merchant was told, and what the feed shows, with the log."""
    fed: Counter[_Known] = Counter()
    for merchant in merchants:
        fed.update(await read_feed(merchant))
    told = {
        (payment_id, sequence): None
        for inbox in receivers.inboxes.values()
        for payment_id, events in inbox.told.items()
        for sequence in events
    }
    logged = {(public_id(Kind.PAYMENT, event.payment_id), event.sequence): event.waits for event in log}
    return Telling(
        events=len(logged),
        deliveries=receivers.counts["deliveries"],
        waiting=sum(logged.values()),
        untold=[*_untold(logged, told), *_misfed(logged, fed)],
        mistold=[*receivers.wrong, *_invented(logged, told)],
    )


def _untold(logged: Mapping[_Known, bool], told: Mapping[_Known, None]) -> Iterator[tuple[str, str]]:
    for (payment_id, sequence), waits in logged.items():
        if (payment_id, sequence) not in told and not waits:
            yield payment_id, f"event {sequence} never came, and nothing is left to be tried"


def _misfed(logged: Mapping[_Known, bool], fed: Mapping[_Known, int]) -> Iterator[tuple[str, str]]:
    for payment_id, sequence in logged:
        if fed.get((payment_id, sequence), 0) != 1:
            yield payment_id, f"event {sequence} stands {fed.get((payment_id, sequence), 0)} times in the feed"


def _invented(logged: Mapping[_Known, bool], told: Iterable[_Known]) -> Iterator[tuple[str, str]]:
    for payment_id, sequence in told:
        if (payment_id, sequence) not in logged:
            yield payment_id, f"event {sequence} was told and is not in the log"
