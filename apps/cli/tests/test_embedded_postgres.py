"""Start, kill and restart the embedded server: real processes, real sockets, nothing faked."""

import asyncio
import ctypes
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.postgres_account import Account, why_not
from paymux_cli.postgres_binaries import PostgresBinaries
from paymux_cli.postgres_errors import AlreadyRunning, NoAccount, NoPostgresBinaries, StrangerInTheWay, WrongVersion
from paymux_cli.postgres_processes import servers_in

PR_SET_CHILD_SUBREAPER = 36
# A supervisor that starts a server, says so, and then only waits.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from paymux_cli.embedded_postgres import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, flush=True)
    await postgres.wait()

asyncio.run(main())
"""


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Run a server for the length of a block."""
    postgres = EmbeddedPostgres(home)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


async def run(dsn: str, *statements: str) -> object:
    """Run statements; return the single value of the last."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@contextmanager
def supervisor_process(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a supervisor in a process of its own; yield it with the pid of its server."""
    command = [sys.executable, "-c", SUPERVISOR, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def wait_for_the_end_of(pid: int) -> None:
    """Block until a process, which need not be our child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 60)[0], f"process {pid} did not end"
    finally:
        os.close(descriptor)


async def test_a_first_start_makes_a_database_that_answers_on_a_private_socket_only(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as postgres:
        assert await run(postgres.dsn(), "select current_database()::text") == "paymux"
        assert await run(postgres.dsn(), "select current_setting('listen_addresses')") == ""
        assert await run(postgres.dsn(), "select current_setting('fsync')") == "on"
        assert await run(postgres.dsn(), "select current_setting('synchronous_commit')") == "on"
        assert stat.S_IMODE(postgres.socket_directory.stat().st_mode) == 0o700
        assert postgres.is_running()
        pid = postgres.pid
    assert pid is not None
    assert not postgres.is_running()
    assert servers_in(postgres.data_directory) == []


async def test_data_stay_for_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        first = postgres.dsn()
        await run(first, "create table kept (id int)", "insert into kept values (7) returning id")
    async with running(tmp_path) as postgres:
        assert await run(postgres.dsn(), "select id from kept") == 7
        assert postgres.dsn() == first


async def test_only_the_right_password_opens_the_socket(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        secret = (postgres.home / "postgres" / "secret").stat()
        assert stat.S_IMODE(secret.st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await run(postgres.dsn().replace("postgres:", "postgres:0"), "select 1")


async def test_a_role_of_the_migrations_gets_in_once_it_is_allowed_to(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        await run(postgres.dsn(), 'create role "paymux app"', "select 1")
        with pytest.raises(asyncpg.PostgresError):
            await run(postgres.dsn("paymux app"), "select 1")
        dsn = await postgres.allow_login("paymux app")
        assert dsn == postgres.dsn("paymux app")
        assert await run(dsn, "select current_user::text") == "paymux app"


async def test_a_second_start_on_the_same_home_is_refused_with_the_first_one_named(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            await EmbeddedPostgres(tmp_path).start()
        assert await run(postgres.dsn(), "select 1") == 1


async def test_a_committed_row_survives_kill_9_of_the_postmaster_and_its_busy_orphan(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await run(postgres.dsn(), "create table kept (id int)", "insert into kept values (7) returning id")
    busy = await asyncpg.connect(postgres.dsn())
    # A backend in the middle of a computation does not notice that its postmaster died: it becomes an orphan.
    query = asyncio.create_task(busy.fetchval("select count(*) from generate_series(1, 1e12::bigint)"))
    while await run(postgres.dsn(), "select count(*) from pg_stat_activity where query like '%1e12%'") != 2:
        pass
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    assert await postgres.wait() == -signal.SIGKILL
    await postgres.stop()
    async with running(tmp_path) as restarted:
        assert await run(restarted.dsn(), "select id from kept") == 7
        assert restarted.dsn(database="x").split("host=")[1] == f"{tmp_path}/postgres/socket&port=5432".replace(
            "/", "%2F"
        )
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await query
    busy.terminate()


async def test_kill_9_of_the_supervisor_leaves_no_server(tmp_path: Path) -> None:
    with supervisor_process(tmp_path) as (supervisor, pid):
        supervisor.kill()
        wait_for_the_end_of(pid)
    assert servers_in(tmp_path / "postgres" / "data") == []


async def test_a_start_right_after_kill_9_of_the_supervisor_takes_over(tmp_path: Path) -> None:
    with supervisor_process(tmp_path) as (supervisor, pid):
        supervisor.kill()
        supervisor.wait()
        async with running(tmp_path) as postgres:
            assert postgres.pid != pid
            assert await run(postgres.dsn(), "select 1") == 1


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Make this process the heir of orphans, and one that does not bury them at once."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


async def test_a_start_succeeds_while_the_killed_postmaster_is_still_a_zombie(tmp_path: Path, subreaper: None) -> None:
    with supervisor_process(tmp_path) as (supervisor, pid):
        supervisor.send_signal(signal.SIGSTOP)  # so that it does not bury its server
        os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED | os.WNOWAIT)  # each of its threads stands still
        os.kill(pid, signal.SIGKILL)
        supervisor.kill()
        supervisor.wait()
        wait_for_the_end_of(pid)
        assert Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        async with running(tmp_path) as postgres:
            assert await run(postgres.dsn(), "select 1") == 1
        os.waitpid(pid, 0)


async def test_a_pid_file_with_the_number_of_a_stranger_does_not_stop_a_start(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        pid_file = postgres.data_directory / "postmaster.pid"
        text = pid_file.read_text()
    lines = text.splitlines(keepends=True)
    pid_file.write_text("".join([f"{os.getppid()}\n", *lines[1:]]))
    async with running(tmp_path) as postgres:
        assert await run(postgres.dsn(), "select 1") == 1


async def test_a_server_that_somebody_else_started_on_our_data_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        (postgres.home / "postgres" / "server.lock").rename(tmp_path / "another.lock")
        (postgres.home / "postgres" / "supervisor.lock").rename(tmp_path / "another.supervisor.lock")
        with pytest.raises(AlreadyRunning, match="did not start"):
            await EmbeddedPostgres(tmp_path).start()
        assert await run(postgres.dsn(), "select 1") == 1


async def test_a_home_with_a_long_path_gets_a_socket_with_a_short_one(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 40)
    async with running(home) as postgres:
        assert len(str(postgres.socket_directory)) < 90
        assert stat.S_IMODE(postgres.socket_directory.stat().st_mode) == 0o700
        assert await run(postgres.dsn(), "select 1") == 1
        directory = postgres.socket_directory
    assert not directory.exists()


async def test_a_socket_folder_that_a_stranger_made_first_is_refused(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / ("long" * 40))
    postgres.socket_directory.mkdir(mode=0o755)
    try:
        with pytest.raises(StrangerInTheWay, match="choose another PAYMUX_HOME"):
            await postgres.start()
    finally:
        postgres.socket_directory.rmdir()


async def test_a_run_adds_no_user_and_opens_no_directory(tmp_path: Path) -> None:
    home = tmp_path / "home"
    watched = [*home.parents, *PostgresBinaries.find().bindir.parents]

    def state() -> tuple[str, list[int]]:
        return Path("/etc/passwd").read_text(), [path.stat().st_mode for path in watched]

    before = state()
    async with running(home):
        assert state() == before
    assert state() == before


async def test_an_interrupted_initdb_is_begun_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")
    async with running(tmp_path) as postgres:
        assert await run(postgres.dsn(), "select 1") == 1
    assert not unfinished.exists()


async def test_data_of_another_version_are_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as postgres:
        version = postgres.data_directory / "PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(WrongVersion, match="made by PostgreSQL 14"):
        await EmbeddedPostgres(tmp_path).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become nobody")
async def test_without_namespaces_root_runs_the_server_as_nobody() -> None:
    directory = Path(tempfile.mkdtemp(prefix="paymux-test-"))
    directory.chmod(0o711)
    program = PostgresBinaries.find().program("postgres")
    try:
        refusal = await why_not(Account.NOBODY, program=program, directory=directory)
        if refusal is not None:
            pytest.skip(f"nobody cannot run {program} here: {refusal}")
        for _ in range(2):
            postgres = EmbeddedPostgres(directory / "home", account=Account.NOBODY)
            await postgres.start()
            try:
                owner = Path(f"/proc/{postgres.pid}").stat().st_uid
                assert owner == pwd.getpwnam("nobody").pw_uid
                assert await run(postgres.dsn(), "select 1") == 1
            finally:
                await postgres.stop()
    finally:
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become nobody")
async def test_a_home_that_nobody_cannot_reach_is_named_as_the_reason(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = PostgresBinaries.find().program("postgres")
    assert await why_not(Account.NOBODY, program=program, directory=closed)


async def test_data_of_a_stranger_are_refused_with_the_way_out(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a directory away")
    async with running(tmp_path) as postgres:
        directory = postgres.data_directory
    os.chown(directory, 12345, 12345)
    with pytest.raises(NoAccount, match="PAYMUX_DATABASE_URL"):
        await EmbeddedPostgres(tmp_path).start()


def test_a_folder_without_programs_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NoPostgresBinaries, match="PAYMUX_DATABASE_URL"):
        PostgresBinaries.at(tmp_path)


async def test_the_server_of_the_distribution_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pg_config = shutil.which("pg_config")
    if pg_config is None:
        pytest.skip("no pg_config on this machine, so no other server to try")
    bindir = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
    if not (Path(bindir) / "initdb").exists():
        pytest.skip(f"{bindir} has no server programs")
    monkeypatch.setenv("PAYMUX_POSTGRES_BINDIR", bindir)
    async with running(tmp_path) as postgres:
        asked = subprocess.run([pg_config, "--version"], capture_output=True, text=True, check=True).stdout
        assert str(await run(postgres.dsn(), "show server_version")).split(".")[0] in asked
