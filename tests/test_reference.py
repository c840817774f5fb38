"""The reference pages say what the code says."""

import pytest

from scripts.reference import FOLDER, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_code_renders(name: str) -> None:
    assert (FOLDER / name).read_bytes() == PAGES[name], "run `make reference`"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)
