"""Mutants of the upkeep, each with the test that has to see it."""

from tests.mutants.patched import Caught, Edit, Mutant

_POSTGRES = "packages/postgres/src/paymux_postgres"
_SCHEDULES = f"{_POSTGRES}/schedules.sql"
_UPKEEP = f"{_POSTGRES}/upkeep.sql"
_MIGRATION = f"{_POSTGRES}/migrations/0013_schedules_and_retention/up.sql"
_EXPIRE = "packages/flows/src/paymux_flows/expire.py"

UPKEEP_CAUGHT = (
    Caught(
        Mutant(
            "slot_taken_under_its_lease",
            "a slot is its runner's until the lease ends",
            (Edit(_SCHEDULES, "s.finished_at is null and s.lease_expires_at <= $3 and", "s.finished_at is null and"),),
        ),
        "tests/worker/test_schedules.py",
        "runner_died",
    ),
    Caught(
        Mutant(
            "lost_lease_finishes",
            "who lost a lease finishes nothing",
            (
                Edit(
                    _SCHEDULES,
                    "outcome = $5, lease_token = null, lease_expires_at = null\n"
                    "where kind = $1 and slot = $2 and lease_token = $3 and",
                    "outcome = $5, lease_token = null, lease_expires_at = null\n"
                    "where kind = $1 and slot = $2 and $3::uuid is not null and",
                ),
            ),
        ),
        "tests/worker/test_schedules.py",
        "lease_that_was_lost",
    ),
    Caught(
        Mutant(
            "expiry_without_compare",
            "only what is as it was read expires",
            (Edit(_UPKEEP, "\n      and p.version = l.version\n", "\n      and l.version is not null\n"),),
        ),
        "tests/worker/test_expiry.py",
        "version_that_moved_on",
    ),
    Caught(
        Mutant(
            "sweep_leaves_the_held_behind",
            "a sweep ends before what somebody held",
            (Edit(_EXPIRE, "UUID(int=min(left).int - 1) if left else piece.last", "piece.last"),),
        ),
        "tests/worker/test_expiry.py",
        "met_again",
    ),
    Caught(
        Mutant(
            "key_of_an_open_payment_goes",
            "a key lives until seven days after its payment ended",
            (
                Edit(
                    _MIGRATION,
                    "when e.finished_at is null or p.finalized_at is null then until + interval '7 days'",
                    "when e.finished_at is null or p.finalized_at is null then e.expires_at",
                ),
            ),
        ),
        "packages/postgres/tests/test_reaping.py",
        "seven_days_after",
    ),
    Caught(
        Mutant(
            "caller_hurries_a_key",
            "the server's clock says what has expired",
            (Edit(_MIGRATION, "until timestamptz := least(at, clock_timestamp());", "until timestamptz := at;"),),
        ),
        "packages/postgres/tests/test_reaping.py",
        "hurries",
    ),
    Caught(
        Mutant(
            "caller_drops_what_is_young",
            "nothing younger than three months by the server's clock is dropped",
            (
                Edit(
                    _MIGRATION,
                    "least(at, clock_timestamp()) at time zone 'utc') - make_interval(months => greatest(months, 3))",
                    "at at time zone 'utc') - make_interval(months => months)",
                ),
            ),
        ),
        "packages/postgres/tests/test_partitions.py",
        "what_is_young",
    ),
    Caught(
        Mutant(
            "partition_without_guards",
            "what guards a parent as a whole guards each partition",
            (Edit(_MIGRATION, "            execute guard;\n", "            null;\n"),),
        ),
        "packages/postgres/tests/test_partitions.py",
        "guarded_like_its_parent or default_partition_only",
    ),
)
