"""What lies in PAYMUX_HOME beside the database: the secrets of this installation, and who runs where."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one installation; only we can enter it."""

    path: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Home":
        """Find the folder: PAYMUX_HOME, else .paymux here."""
        return cls(Path(environment.get("PAYMUX_HOME") or ".paymux").resolve())

    def secrets(self) -> dict[str, str]:
        """Read the installation's secrets, making them the first time."""
        file = self.path / "secrets.json"
        if not file.exists():
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = {"PAYMUX_MASTER_KEY": secrets.token_hex(32), "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}"}
            write_whole(file, json.dumps(made))
        found = json.loads(file.read_text())
        return {str(name): str(value) for name, value in found.items()}

    def write_demo(self, values: Mapping[str, str]) -> Path:
        """Write demo.env in one rename, as the last step of a start."""
        file = self.path / "demo.env"
        write_whole(file, "".join(f"{name}={value}\n" for name, value in values.items()))
        return file

    def write_running(self, values: Mapping[str, str]) -> None:
        """Write down who runs where, for the other commands."""
        write_whole(self.path / "run.json", json.dumps(values, indent=1) + "\n")

    def running(self) -> dict[str, str]:
        """Read who runs where; empty if nothing does."""
        file = self.path / "run.json"
        if not file.exists():
            return {}
        return {str(name): str(value) for name, value in json.loads(file.read_text()).items()}

    def forget_running(self) -> None:
        """Remove run.json at the end of a run."""
        (self.path / "run.json").unlink(missing_ok=True)

    def read_demo(self) -> dict[str, str]:
        """Read demo.env; empty if there is none."""
        file = self.path / "demo.env"
        if not file.exists():
            return {}
        lines = file.read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines if line)}


def write_whole(file: Path, text: str) -> None:
    """Write a file readable by us alone, whole or not at all."""
    draft = file.with_name(file.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
