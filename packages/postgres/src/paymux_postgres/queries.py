"""Load the statements of a `.sql` file: each starts with `-- name --` and a sentence that says why it exists."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString, cast

_NAME_LINE = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)


def load(module_file: str) -> Mapping[str, LiteralString]:
    """Read the statements that lie beside a module, by name. Raises: ValueError for a name used twice."""
    text = Path(module_file).with_suffix(".sql").read_text(encoding="utf-8")
    parts = _NAME_LINE.split(text)
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        message = f"a statement name is used twice beside {module_file}"
        raise ValueError(message)
    # LiteralString: the text comes from our own files, so the type checker may refuse every other string.
    return {name: cast("LiteralString", body.strip()) for name, body in zip(names, bodies, strict=True)}
