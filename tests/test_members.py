"""Each member stands alone: installed into a fresh environment with only what it names, it can be imported whole."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {
    tomllib.loads(file.read_text())["project"]["name"]: file.parent for file in sorted(ROOT.glob("*/*/pyproject.toml"))
}
BUILD = ("hatchling", "editables")
INSTALL_SECONDS_MAX = 300
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""

pytestmark = pytest.mark.slow


def needs(name: str) -> list[str]:
    """List what a member names, its extras included."""
    project = tomllib.loads((MEMBERS[name] / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [str(need) for need in (*project["dependencies"], *chain.from_iterable(extras))]


def members_of(name: str) -> list[str]:
    """List a member and the members below it."""
    found = [name]
    for need in needs(name):
        if need in MEMBERS:
            found += [member for member in members_of(need) if member not in found]
    return found


def packages_of(name: str) -> list[str]:
    """List what a member and those below it need from others."""
    return sorted({need for member in members_of(name) for need in needs(member) if need not in MEMBERS})


def each_member(name: str) -> object:
    """Leave those that install many packages to the long runs: `make test` shows that the inner layers stand alone."""
    long = [pytest.mark.soak] if len(packages_of(name)) > 1 else []
    return pytest.param(name, marks=long)


@pytest.mark.timeout(2 * INSTALL_SECONDS_MAX)
@pytest.mark.parametrize("name", [each_member(name) for name in MEMBERS])
def test_a_member_stands_alone(name: str, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--only-binary=:all:", "--constraint", str(constraints(tmp_path)), *BUILD, *packages_of(name))
    members = [str(MEMBERS[member]) for member in members_of(name)]
    run(*pip, "--no-deps", "--no-build-isolation", *members)
    run(str(python), "-c", IMPORT_ALL, import_name(name))


def run(*command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)[:200]}\n{ran.stdout[-1000:]}{ran.stderr[-2000:]}"


def constraints(folder: Path) -> Path:
    """Write the versions of the lock as pip's constraints, which cannot hold hashes."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9][^\n]*?==[^\s\\]+(?: *;[^\\\n]*)?", lock, re.MULTILINE)
    written = folder / "constraints.txt"
    written.write_text("\n".join(pin.strip() for pin in pins) + "\n")
    return written


def import_name(name: str) -> str:
    (source,) = [folder for folder in (MEMBERS[name] / "src").iterdir() if (folder / "__init__.py").exists()]
    return source.name
