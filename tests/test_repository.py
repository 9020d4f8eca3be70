"""What a clean clone must have: package data, pins, a README that says what was measured."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from benchmarks import readme_table

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~ \[]", r)[0].lower().replace("_", "-") for r in requirements}


def test_all_data_files_are_in_the_package():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("codec", "vdmcompress", "cli"):
        files = [p for p in (ROOT / package).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        others = [p.relative_to(ROOT / package).as_posix() for p in files if p.suffix != ".py"]
        for name in others:
            assert any(fnmatch(name, glob) for glob in data.get(package, [])), (
                f"{package}/{name} is not packaged"
            )


def test_every_folder_with_code_is_a_package():
    for package in ("codec", "vdmcompress", "cli"):
        for folder in {p.parent for p in (ROOT / package).rglob("*.py")}:
            assert (folder / "__init__.py").exists(), folder


def test_every_requirement_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    wanted = names(PROJECT["project"]["dependencies"])
    for extra in ("test", "bench", "cluster"):
        wanted |= names(PROJECT["project"]["optional-dependencies"][extra])
    assert wanted <= set(pinned), wanted - set(pinned)
    assert pinned["torch"] == "2.13.0"


def test_samples_are_small_and_named():
    samples = sorted((ROOT / "samples").glob("*.png"))
    assert len(samples) == 3
    assert sum(p.stat().st_size for p in samples) <= 1_500_000
    text = (ROOT / "samples" / "README.md").read_text()
    assert "CC0" in text
    assert all(p.name in text for p in samples)


def test_readme_names_the_commands():
    text = (ROOT / "README.md").read_text()
    for command in ("make try", "make test", "vdmc encode", "vdmc decode"):
        assert command in text


def test_readme_and_results_agree():
    text = (ROOT / "README.md").read_text()
    assert readme_table.rewrite(text) == text


def result(**changes):
    formats = {"vdmc": {"bytes": 1234567, "bpd": 2.8954, "encode_mpx_s": 0.25, "decode_mpx_s": 0.3}}
    made = {
        "name": "set",
        "date": "2026-01-02",
        "machine": {"cpu": "some processor", "cores": 2},
        "totals": {"images": 2, "mpx": 1.5, "formats": formats},
        "vdmc": {},
    }
    return made | changes


def test_table_has_the_figures_of_the_results():
    text = readme_table.render([result()])
    assert "| vdmc | 1,234,567 | 2.895 | 0.25 | 0.30 |" in text
    assert "**set**: 2 images, 1.50 Mpx. some processor, 2 cores; 2026-01-02." in text
    checked = readme_table.render([result(vdmc={"encode_verified": {"files_seconds": 10.0}})])
    assert "0.15 Mpx/s" in checked


def test_replacing_keeps_the_rest_and_needs_the_markers():
    readme = "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    assert readme_table.replace(readme, "results", "new") == readme.replace("old", "new")
    with pytest.raises(ValueError, match="one <!-- results -->"):
        readme_table.replace("no markers", "results", "new")


def test_glossary_names_exist_where_it_says():
    rows = re.findall(r"^\|.*\|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    entries = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    entries = [cells for cells in entries if cells[-1].startswith("`")]
    assert len(entries) > 15
    for cells in entries:
        source = (ROOT / cells[-1].strip("`")).read_text()
        for name in re.findall(r"`([\w.]+)`", cells[1]):
            last = name.rsplit(".", maxsplit=1)[-1]
            assert re.search(rf"\b{last}\b", source), f"{name} is not in {cells[-1]}"


def test_nothing_is_left_for_later():
    for folder in ("cli", "codec", "vdmcompress", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml"):
                assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text()), path
