"""What somebody might try with the slots of schedules."""

from tests.guarantees.attack import Attack
from tests.guarantees.attack_sql import SLOT

ATTACKS_ON_SLOTS = [
    Attack(
        12,
        "a slot is claimed twice",
        "slot",
        ("schedules_pkey",),
        SLOT,
    ),
    Attack(
        12,
        "an open slot without an end of its lease",
        "slot",
        ("schedules_open_has_lease",),
        "update schedules set lease_expires_at = null",
    ),
    Attack(
        12,
        "a slot that is done is taken again",
        "slot done",
        ("schedules_final",),
        "update schedules set finished_at = null, lease_expires_at = :t",
    ),
]
