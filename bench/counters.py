"""What a run cost: CPU of the API and of Postgres from the kernel, WAL and statements from the server's counters."""

import os
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.stage import Api, Server
from paymux_cli.postgres_processes import servers_in
from paymux_postgres import queries

SQL = queries.load(__file__)
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one moment. CPU in seconds."""

    api_cpu: float
    postgres_cpu: float
    wal_bytes: int
    full_page_images: int
    statements: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Reads the counters of one API process and its database over one connection."""

    server: Server
    connection: asyncpg.Connection
    api: Api

    async def read(self) -> Reading:
        """Read everything now."""
        row = await self.connection.fetchrow(SQL["read_counters"])
        assert row is not None
        return Reading(
            api_cpu=cpu_seconds(self.api.pid),
            postgres_cpu=postgres_cpu_seconds(self.server),
            wal_bytes=int(row["wal_bytes"]),
            full_page_images=int(row["full_page_images"]),
            statements=int(row["statements"]),
        )


def postgres_cpu_seconds(server: Server) -> float:
    """CPU of the whole server, processes that ended included: the postmaster inherits their time."""
    return sum(cpu_seconds(pid, ended_children=True) for pid in servers_in(server.postgres.data_directory))


def cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """User and system time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0  # it ended meanwhile; its parent has its time
    ticks = int(fields[11]) + int(fields[12])
    if ended_children:
        ticks += int(fields[13]) + int(fields[14])
    return ticks * _TICK_SECONDS


def memory_bytes(pid: int) -> int:
    """Memory that is this process's own share (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell a process's share of memory")


async def hot_percent(connection: asyncpg.Connection) -> dict[str, float]:
    """Share of updates that touched no index, per table, since the database was made."""
    rows = await connection.fetch(SQL["hot_percent"])
    return {row["relname"]: float(row["hot_percent"]) for row in rows}
