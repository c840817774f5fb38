"""Run a command on a Postgres server of its own, from the programs of a folder: `python -m … BINDIR COMMAND…`.

The server lives as long as the command, in a temporary folder, as an account without privileges; the command finds it
in PAYMUX_DATABASE_URL. So the tests run on another version than the embedded one's.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.postgres_binaries import PostgresBinaries
from tests.support.postgres import SETTINGS, LoopThread


@contextmanager
def private_server(bindir: Path) -> Iterator[str]:
    """Give the administrator's DSN of a server that ends with this. Raises: NoPostgresBinaries."""
    binaries = PostgresBinaries.at(bindir)
    with tempfile.TemporaryDirectory(prefix="paymux-server-") as home:
        thread = LoopThread()
        try:
            server = EmbeddedPostgres(Path(home), settings=SETTINGS, binaries=binaries)
            dsn = thread.run(server.start())
            try:
                yield dsn
            finally:
                thread.run(server.stop())
        finally:
            thread.close()


def main(bindir: str, *command: str) -> int:
    """Run the command; its exit status is ours."""
    with private_server(Path(bindir)) as dsn:
        version = PostgresBinaries.at(Path(bindir)).major_version()
        sys.stderr.write(f"on PostgreSQL {version}: {' '.join(command)}\n")
        return subprocess.run(command, env=os.environ | {"PAYMUX_DATABASE_URL": dsn}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
