"""What lies in PAYMUX_HOME beside the database: the secrets of this installation, and who runs where."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paymux_cli.postgres_errors import AlreadyRunning, HomeUnusable
from paymux_cli.postgres_processes import pid_exists, try_lock


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one installation; only we can read what is in it."""

    path: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Home":
        """Find the folder: PAYMUX_HOME, else .paymux here."""
        return cls(Path(environment.get("PAYMUX_HOME") or ".paymux").absolute())

    def make(self) -> None:
        """Make the folder when there is none. Raises: HomeUnusable."""
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                # `nobody`, should root's server have to be that, passes through to what it owns, and lists nothing.
                self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            (self.path / "run.lock").touch(mode=0o600)
        except OSError as error:
            raise HomeUnusable(f"PAYMUX_HOME: {self.path} cannot be used: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one run on this home for as long as this lasts. Raises: AlreadyRunning."""
        file = self.path / "run.lock"
        lock = try_lock(file)
        if lock is None:
            raise AlreadyRunning(
                f"{self.path} is already run by process {file.read_text().strip()}; "
                "stop that one first, or choose another PAYMUX_HOME"
            )
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(lock)

    def make_secrets(self) -> dict[str, str]:
        """Read the installation's secrets, making them the first time."""
        if not self._secrets.exists():
            made = {"PAYMUX_MASTER_KEY": secrets.token_hex(32), "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}"}
            write_whole(self._secrets, json.dumps(made))
        return self.read_secrets()

    def read_secrets(self) -> dict[str, str]:
        """Read the installation's secrets."""
        return {str(name): str(value) for name, value in json.loads(self._secrets.read_text()).items()}

    def write_running(self, values: Mapping[str, str]) -> None:
        """Write down who runs where, for the other commands."""
        write_whole(self.path / "run.json", json.dumps({"pid": str(os.getpid()), **values}, indent=1) + "\n")

    def running(self) -> dict[str, str] | None:
        """Read who runs where; None if nothing does, whatever a killed run left."""
        try:
            found = json.loads((self.path / "run.json").read_text())
        except OSError:
            return None
        if not pid_exists(int(found["pid"])):
            return None
        return {str(name): str(value) for name, value in found.items()}

    def write_demo(self, values: Mapping[str, str]) -> Path:
        """Write demo.env in one rename: whoever sees it may use what it names."""
        file = self.path / "demo.env"
        write_whole(file, "".join(f"{name}={value}\n" for name, value in values.items()))
        return file

    def forget_running(self) -> None:
        """Remove what told others where to find us."""
        for name in ("demo.env", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def write_demo_merchant(self, values: Mapping[str, str]) -> None:
        """Keep the demo merchant's id and key for the next run."""
        write_whole(self._demo_merchant, json.dumps(values))

    def demo_merchant(self) -> dict[str, str]:
        """Read the demo merchant's id and key; empty if there is none yet."""
        if not self._demo_merchant.exists():
            return {}
        return {str(name): str(value) for name, value in json.loads(self._demo_merchant.read_text()).items()}

    @property
    def _secrets(self) -> Path:
        return self.path / "secrets.json"

    @property
    def _demo_merchant(self) -> Path:
        return self.path / "demo.json"


def write_whole(file: Path, text: str) -> None:
    """Write a file readable by us alone, whole or not at all."""
    draft = file.with_name(file.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
