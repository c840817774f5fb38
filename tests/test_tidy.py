"""Hold the code to its shape: lengths, names, and each thing in its place.

A rule is a function from one file to findings. `# tidy-skip: <rule>: <reason>` on the line of a finding, or on the line
above it, is the only way around a rule; a skip that skips nothing is a finding itself.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A function that does not fit on a screen, or a file that nobody reads to its end, hides more than one idea.
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

# The glossary has a better word for each of these.
BANNED_WORDS = {
    "common": "name what it is about",
    "data": "name what it is about",
    "helper": "name it after its caller",
    "helpers": "name it after its caller",
    "info": "name what it is about",
    "janitor": "reconcile or review",
    "manager": "name what it does",
    "pmt": "payment",
    "psp": "gateway",
    "txn": "attempt, or transaction when it is the database's",
    "util": "name what it is about",
    "utils": "name what it is about",
}
NAMED_MEMBERS = ("paymux_core", "paymux_flows", "paymux_postgres")

# Clock settings and the ports of time and chance hold no money.
FILES_OF_TIME_AND_CHANCE = {"clocks.py", "ports.py"}

SQL_TEXT = re.compile(
    r"\s*(select\s.+\sfrom\s|select\s+\w+\(|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\("
    r"|(create|alter|drop)\s+(table|role|database|schema|index|type|function)\s|truncate\s|lock\s+table\s)",
    re.IGNORECASE | re.DOTALL,
)
SQL_NOW = re.compile(
    r"\b(now\s*\(\s*\)|current_timestamp\b|localtimestamp\b|transaction_timestamp\s*\()", re.IGNORECASE
)
STATEMENT_NAME = re.compile(r"^-- (\w+) --\s*$")
SKIP = re.compile(r"(?:#|--) tidy-skip: *([\w-]*) *:? *(.*)$")


@dataclass(frozen=True, slots=True)
class Source:
    """One file as the rules see it. `path` is relative to the root."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str | Path, text: str) -> "Source":
        """Parse Python; SQL has no tree worth having."""
        return cls(Path(path), text, ast.parse(text if Path(path).suffix == ".py" else ""))

    def is_in(self, *members: str) -> bool:
        """Tell whether this file is code (not a test) of one of the members."""
        return "src" in self.path.parts and bool(set(members) & set(self.path.parts))


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a rule is broken, and what to do."""

    line: int
    message: str


Rule = Callable[[Source], Iterator[Finding]]


def function_length(source: Source) -> Iterator[Finding]:
    """Refuse a function longer than a screen."""
    for node in _functions(source.tree):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield Finding(node.lineno, f"{node.name} has {lines} lines; stop at {FUNCTION_LINES_MAX}")


def file_length(source: Source) -> Iterator[Finding]:
    """Refuse a file with more than one idea in it."""
    lines = source.text.count("\n")
    if source.path.suffix == ".py" and lines > FILE_LINES_MAX:
        yield Finding(1, f"{lines} lines; a file has one idea and stops at {FILE_LINES_MAX}")


def gateway_in_transaction(source: Source) -> Iterator[Finding]:
    """Refuse to call out, or to wait, while a transaction is open: commit first, then call."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.AsyncWith) or not any(_opens_transaction(item) for item in node.items):
            continue
        for inner in (part for statement in node.body for part in ast.walk(statement)):
            if isinstance(inner, ast.Call) and {"gateway", "gateways", "sleep"} & set(_dotted(inner.func)):
                yield Finding(inner.lineno, f"{'.'.join(_dotted(inner.func))} inside a transaction; commit, then call")


def sql_in_place(source: Source) -> Iterator[Finding]:
    """Refuse SQL outside paymux_postgres."""
    if "src" not in source.path.parts or source.is_in("paymux_postgres"):
        return
    for constant in _strings(source.tree):
        if SQL_TEXT.match(str(constant.value)):
            yield Finding(constant.lineno, "SQL lives in a .sql file of paymux_postgres")


def sql_now(source: Source) -> Iterator[Finding]:
    """Refuse the database's own idea of the time in a statement: the port's `now` comes in as a parameter."""
    if not source.is_in("paymux_postgres"):
        return
    if source.path.suffix == ".sql":
        for number, line in enumerate(source.text.splitlines(), 1):
            if SQL_NOW.search(line.partition("--")[0]):
                yield Finding(number, "take $now as a parameter")
    for constant in _strings(source.tree):
        if SQL_NOW.search(str(constant.value)):
            yield Finding(constant.lineno, "take $now as a parameter")


def no_float(source: Source) -> Iterator[Finding]:
    """Refuse floats in core: money is exact. Seconds and chance may be floats, where a line or its file says so."""
    if not source.is_in("paymux_core") or source.path.name in FILES_OF_TIME_AND_CHANCE:
        return
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        is_literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
        if is_literal or (isinstance(node, ast.Name) and node.id == "float"):
            line: int = getattr(node, "lineno", 1)
            if not re.search("seconds|jitter", lines[line - 1]):
                yield Finding(line, "no float in core: minor units and timedelta are exact")


def core_stands_alone(source: Source) -> Iterator[Finding]:
    """Refuse any import in core but the standard library, msgspec (its values are structs) and itself."""
    if not source.is_in("paymux_core"):
        return
    for node in ast.walk(source.tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "msgspec", "paymux_core"}:
                yield Finding(getattr(node, "lineno", 1), f"core imports {name}; it has msgspec and nothing else")


def names(source: Source) -> Iterator[Finding]:
    """Refuse names for which the glossary has a better word."""
    if not source.is_in(*NAMED_MEMBERS):
        return
    found = [(1, source.path.stem)]
    found += [(node.lineno, node.name) for node in _functions(source.tree)]
    found += [(node.lineno, node.name) for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    for line, name in found:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
        for word in words:
            if word in BANNED_WORDS:
                yield Finding(line, f"{name}: say {BANNED_WORDS[word]}")
        if name.startswith("charge_"):
            yield Finding(line, f"{name}: say payment, authorize or capture")


RULES: dict[str, Rule] = {
    "function-length": function_length,
    "file-length": file_length,
    "gateway-in-transaction": gateway_in_transaction,
    "sql-in-place": sql_in_place,
    "sql-now": sql_now,
    "no-float": no_float,
    "core-stands-alone": core_stands_alone,
    "names": names,
}


def findings(source: Source) -> Iterator[str]:
    """Run every rule over a file, honour its skips, and report skips that are broken or idle."""
    skips = {number: match for number, comment in _comments(source) if (match := SKIP.search(comment))}
    used: set[int] = set()
    for rule_name, rule in RULES.items():
        for finding in rule(source):
            skipped_by = next((n for n in (finding.line, finding.line - 1) if _skips(skips.get(n), rule_name)), None)
            if skipped_by is None:
                yield f"{source.path}:{finding.line}: {rule_name}: {finding.message}"
            else:
                used.add(skipped_by)
    for number, match in skips.items():
        if match[1] not in RULES or not match[2]:
            yield f"{source.path}:{number}: write tidy-skip: <rule>: <reason>; rules are {', '.join(RULES)}"
        elif number not in used:
            yield f"{source.path}:{number}: this skip skips nothing"


def statement_findings(sql: Source, python: Source) -> Iterator[str]:
    """Demand of each statement a name, a reason, and one function of its name, in the .py beside it, that uses it."""
    lines = sql.text.splitlines()
    functions: dict[str, list[ast.AST]] = {}
    for function in _functions(python.tree):
        functions.setdefault(function.name, []).append(function)
    for number, line in enumerate(lines, 1):
        if not (match := STATEMENT_NAME.match(line)):
            continue
        name = match[1]
        if number >= len(lines) or not re.match(r"-- \S+ \S", lines[number]):
            yield f"{sql.path}:{number}: say below the name of {name} why it exists"
        users = functions.get(name, [])
        if len(users) != 1:
            yield f"{sql.path}:{number}: {python.path.name} has {len(users)} functions named {name}; there is one"
        elif not any(_mentions(node, name) for node in ast.walk(users[0])):
            yield f"{sql.path}:{number}: the function {name} does not run the statement of its name"
        strangers = [f.name for f in _functions(python.tree) if f.name != name and _indexes(f, name)]
        if strangers:
            yield f"{sql.path}:{number}: {name} is also used by {', '.join(strangers)}"


def _comments(source: Source) -> Iterator[tuple[int, str]]:
    """Yield comments with their lines; in Python only true ones, not text that looks like one."""
    if source.path.suffix == ".sql":
        yield from enumerate(source.text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield string constants that are no docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def _dotted(node: ast.expr) -> list[str]:
    """Name the parts of `deps.gateway.authorize`."""
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def _opens_transaction(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and _dotted(call.func)[-1:] == ["transaction"]


def _skips(match: re.Match[str] | None, rule_name: str) -> bool:
    return match is not None and match[1] == rule_name and bool(match[2])


def _mentions(node: ast.AST, name: str) -> bool:
    return (isinstance(node, ast.Constant) and node.value == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _indexes(function: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Subscript) and _mentions(node.slice, name) for node in ast.walk(function))


def _files(suffix: str) -> list[Path]:
    places = [*ROOT.glob("apps/*"), *ROOT.glob("packages/*"), ROOT / "tests", ROOT / "bench", ROOT / "scripts"]
    return sorted(path.relative_to(ROOT) for place in places for path in place.rglob(f"*{suffix}"))


def _read(path: Path) -> Source:
    return Source.of(path, (ROOT / path).read_text())


@pytest.mark.parametrize("path", [*_files(".py"), *_files(".sql")], ids=str)
def test_a_file_keeps_every_rule(path: Path) -> None:
    assert list(findings(_read(path))) == []


SQL_FILES = [path for path in _files(".sql") if "src" in path.parts and "migrations" not in path.parts]


@pytest.mark.parametrize("path", SQL_FILES, ids=str)
def test_every_statement_has_a_reason_and_one_function_of_its_name(path: Path) -> None:
    python = path.with_suffix(".py")
    assert (ROOT / python).is_file(), f"{path} has no {python.name} beside it"
    assert list(statement_findings(_read(path), _read(python))) == []


def test_no_two_statements_share_a_name() -> None:
    found = [m[1] for path in SQL_FILES for line in _read(path).text.splitlines() if (m := STATEMENT_NAME.match(line))]
    assert sorted(found) == sorted(set(found))


CORE, FLOWS, POSTGRES = (f"packages/{name}/src/paymux_{name}/x.py" for name in ("core", "flows", "postgres"))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        ("function-length", FLOWS, "def f():\n" + "    f()\n" * FUNCTION_LINES_MAX),
        ("file-length", FLOWS, "\n" * (FILE_LINES_MAX + 1)),
        (
            "gateway-in-transaction",
            FLOWS,
            "async def f(d):\n    async with d.store.transaction() as tx:\n        await d.gateway.authorize(tx)\n",
        ),
        ("sql-in-place", FLOWS, "QUERY = 'select id from payments'\n"),
        ("sql-now", POSTGRES, "QUERY = 'update payments set updated_at = now()'\n"),
        ("sql-now", POSTGRES.replace(".py", ".sql"), "create table t (created_at timestamptz default now());\n"),
        ("no-float", CORE, "FEE = 0.1\n"),
        ("core-stands-alone", CORE, "import structlog\n"),
        ("names", FLOWS, "def settle_txn(): ...\n"),
        ("names", POSTGRES, "class PaymentManager: ...\n"),
        ("names", POSTGRES.replace("x.py", "utils.py"), ""),
        ("names", CORE, "def charge_card(): ...\n"),
    ],
)
def test_a_rule_finds_what_it_is_for(rule: str, path: str, text: str) -> None:
    assert [f": {rule}: " in finding for finding in findings(Source.of(path, text))] == [True]


def test_a_skip_needs_a_rule_a_reason_and_something_to_skip() -> None:
    skipped = "# tidy-skip: names: the name on the wire\ndef charge_card(): ...\n"
    no_reason = "# tidy-skip: names\ndef charge_card(): ...\n"
    idle = "# tidy-skip: names: the name on the wire\ndef authorize(): ...\n"
    assert [len(list(findings(Source.of(CORE, text)))) for text in (skipped, no_reason, idle)] == [0, 2, 1]


@pytest.mark.parametrize(
    ("sql", "python"),
    [
        ("-- lock_payment --\nselect 1\n", "def lock_payment(sql): return sql['lock_payment']\n"),
        ("-- lock_payment --\n-- Why it exists.\nselect 1\n", "def other(sql): return sql['lock_payment']\n"),
        ("-- lock_payment --\n-- Why it exists.\nselect 1\n", "def lock_payment(sql): return sql['other']\n"),
    ],
)
def test_a_statement_without_its_reason_or_its_function_is_found(sql: str, python: str) -> None:
    assert list(statement_findings(Source.of("x.sql", sql), Source.of("x.py", python)))
