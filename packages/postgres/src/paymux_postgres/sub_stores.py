"""What is kept beside payments: each part has a store of its own, all on the pool of the whole."""

from paymux_core.ports import Rng
from paymux_postgres.audit import AuditStore
from paymux_postgres.bounded import BoundedReads
from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_postgres.deliveries import DeliveryStore
from paymux_postgres.event_log import EventLog
from paymux_postgres.history import HistoryStore
from paymux_postgres.inbound_store import InboundStore
from paymux_postgres.lookup_budgets import LookupBudgets
from paymux_postgres.operating import OperatingStore
from paymux_postgres.schedules import ScheduleStore
from paymux_postgres.sealing import Sealer
from paymux_postgres.upkeep import UpkeepStore
from paymux_postgres.webhook_endpoints import WebhookEndpointStore


class SubStores:
    """The stores of webhooks in both directions, of the log and of the budgets."""

    def __init__(self, settings: DatabaseSettings, *, rng: Rng, sealer: Sealer, batch_max: int) -> None:
        """Make them; nothing is opened yet."""
        self.sealer = sealer
        self.pool = Pool(settings)
        self.deliveries = DeliveryStore(self.pool, sealer)
        self.webhook_endpoints = WebhookEndpointStore(self.pool, sealer)
        self.event_log = EventLog(self.pool)
        self.inbound = InboundStore(settings, sealer, rng=rng, batch_max=batch_max)
        self.lookups = LookupBudgets(self.pool)
        self.audit = AuditStore(self.pool)
        self.history = HistoryStore(self.pool)
        self.schedules = ScheduleStore(self.pool)
        self.upkeep = UpkeepStore(self.pool)
        self.bounded = BoundedReads(settings)
        self.operating = OperatingStore(self.bounded)
