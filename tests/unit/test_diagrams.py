"""The docs' diagrams are what their source draws, and a page shows each."""

from pathlib import Path

import pytest
from tools.diagrams import DIAGRAMS, svg

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_what_its_source_draws_and_a_page_shows_it(name: str) -> None:
    assert (DOCS / f"{name}.svg").read_text() == svg(DIAGRAMS[name])
    assert any(f"]({name}.svg)" in page.read_text() for page in DOCS.glob("*.md"))
