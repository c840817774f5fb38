"""Apply a mutant to a copy of the product, and run Python on that copy.

Only the test build knows mutants: no setting of the product switches a guarantee off. A patch that no longer finds its
place fails loudly, because a mutant that changes nothing proves nothing.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class PatchDoesNotApply(Exception):
    """The text a mutant replaces is not there exactly once: mend the mutant, or retire it by name."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `search`, which stands exactly once in the file (a path from the root)."""

    path: str
    search: str
    replace: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule removed. `rule` says which, in words; `edits` do it."""

    name: str
    rule: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Caught:
    """A mutant, and the tests (a file and pytest's `-k`) of which one has to fail."""

    mutant: Mutant
    file: str
    tests: str


def write_mutant(mutant: Mutant, into: Path) -> Path:
    """Copy the source trees that the mutant touches, with its edits. Raises: PatchDoesNotApply."""
    for source in sorted({_source_tree(edit.path) for edit in mutant.edits}):
        shutil.copytree(ROOT / source, into / source, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        _apply(edit, into / edit.path, mutant.name)
    return into


def environment_of(mutant: Mutant, home: Path, *, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment in which Python, and every child of it, imports the mutant's copies before ours."""
    environment = dict(os.environ if base is None else base)
    sources = sorted({_source_tree(edit.path) for edit in mutant.edits})
    paths = [str(home / source) for source in sources]
    if inherited := environment.get("PYTHONPATH"):
        paths.append(inherited)
    return environment | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def _source_tree(path: str) -> str:
    parts = Path(path).parts
    return str(Path(*parts[: parts.index("src") + 1]))


def _apply(edit: Edit, file: Path, name: str) -> None:
    text = file.read_text()
    found = text.count(edit.search)
    if found != 1:
        message = f"{name}: found {found} times in {edit.path}, not once: {edit.search!r}"
        raise PatchDoesNotApply(message)
    file.write_text(text.replace(edit.search, edit.replace))
