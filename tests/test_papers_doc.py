"""docs/papers.md: every row is in its table, every link leads somewhere, every equation names a test."""

import re
from pathlib import Path

import pytest

from vdmcompress.lab import ROWS
from vdmcompress.lab.derivation import EQUATIONS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "papers.md").read_text()
LABEL = re.compile(r"^- \*\*\((\d+)\)\*\*(.*?)(?=^- \*\*\(|^\n|\Z)", re.MULTILINE | re.DOTALL)


def table() -> dict[str, list[str]]:
    """Cells of each row by its id."""
    found = re.findall(r"^\| ([VWITX]\d+) \|(.*)\|$", TEXT, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_its_figure(name):
    title, shown, measured, _published = table()[name]
    assert title.startswith(ROWS[name].title)
    assert re.fullmatch(r"\[(test|lab)\]\(\.\./[\w/]+\.py\)", shown)
    assert measured


def test_rows_out_of_scope_are_named():
    for name in ("W6", "I13", "I14"):
        assert re.search(rf"^\| {name} \|.*out of scope", TEXT, re.MULTILINE)


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert len(links) > 40
    for link in links:
        assert (ROOT / "docs" / link).resolve().exists(), link


def test_every_equation_names_a_test_that_exists():
    labels = dict(LABEL.findall(TEXT))
    assert list(labels) == list(EQUATIONS)
    for number, rest in labels.items():
        found = re.search(r"\[`(test_\w+)`\]\(\.\./(tests/\w+\.py)\)", rest)
        assert found, f"equation {number} names no test"
        assert f"\ndef {found[1]}(" in (ROOT / found[2]).read_text()
        assert found[1] == f"test_{EQUATIONS[number].__name__}"
