"""The page of guarantees lists what is really tried, by guards and tests that exist."""

import re
from pathlib import Path

from tests.guarantees.attacks import ATTACKS
from tests.guarantees.page import FURTHER_TESTS, PAGE, REFUSALS, render
from tests.guarantees.snapshot import SNAPSHOT

FOLDER = Path(__file__).parent


def test_the_page_is_the_one_rendered_from_the_attacks() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.guarantees.page"


def test_every_refusal_is_attacked_under_a_name_of_its_own() -> None:
    assert {attack.item for attack in ATTACKS} == set(REFUSALS)
    names = [attack.name for attack in ATTACKS]
    assert sorted(names) == sorted(set(names))


def test_every_guard_on_the_page_is_in_the_catalog() -> None:
    catalog = SNAPSHOT.read_text()
    names = {guard for attack in ATTACKS for guard in attack.guards}
    columns = {name for name in names if "." in name}
    assert {name for name in names - columns if not re.search(rf"\b{name}\b", catalog)} == set()
    assert {name for name in columns if not re.search(rf"^{name} .* not null", catalog, re.MULTILINE)} == set()


def test_every_test_on_the_page_exists() -> None:
    listed = [name.split("::") for names in FURTHER_TESTS.values() for name in names]
    listed += re.findall(r"`tests/guarantees/(test_\w+\.py)::(\w+)`", PAGE.read_text())
    missing = [name for file, name in listed if f"def {name}(" not in (FOLDER / file).read_text()]
    assert missing == []
