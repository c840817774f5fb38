"""Make the data directory of the embedded server: whole, or not at all."""

import asyncio
import os
import shutil
import signal

from paymux_cli.postgres_account import Account, Launch
from paymux_cli.postgres_binaries import PostgresBinaries
from paymux_cli.postgres_errors import ServerFailed
from paymux_cli.postgres_home import PostgresHome, make_owned_directory

SUPERUSER = "postgres"


async def make_data_directory(home: PostgresHome, *, binaries: PostgresBinaries, account: Account) -> None:
    """Run initdb beside the place of the data directory, and move the result there. Raises: ServerFailed."""
    unfinished = home.folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    make_owned_directory(unfinished, account=account)
    password_file = home.folder / "initdb.password"
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(home.password_of(SUPERUSER))
    os.chown(password_file, *account.owner)
    arguments = (
        f"--pgdata={unfinished}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        # A folder that others cannot enter is not enough: other services run as `nobody` too.
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--no-locale",  # the same order of text on every machine, also without ICU
        "--data-checksums",
        "--no-instructions",
    )
    try:
        process = await Launch(account, binaries.program("initdb"), arguments, output=asyncio.subprocess.PIPE).start()
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            # It has a session of its own, and what it leaves is thrown away by the next start.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
    finally:
        password_file.unlink()
    if process.returncode != 0:
        message = f"initdb ended with {process.returncode}: {output.decode(errors='replace').strip()}"
        raise ServerFailed(message)
    unfinished.rename(home.data_directory)
