"""Mutated files through the readers, and that the harness sees what it looks for."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import corpus, coverage, drive, mutate, mutate_archives, table, worker
from fuzz.targets import LIMITS, Broken, FileTarget
from vdmcompress.api import decode, decode_picture
from vdmcompress.archive.group import unpack_group
from vdmcompress.archive.records import unpack_model
from vdmcompress.chunks import Chunk
from vdmcompress.container import file_lengths, pack, peek, unpack
from vdmcompress.errors import DamagedFileError, LimitError, VdmError
from vdmcompress.picture import array_picture

SOUND = corpus.load("sound")
NAMES = sorted(SOUND)


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
        yield worker.cases("file")


randoms = st.integers(0, 2**32).map(np.random.default_rng)


@settings(max_examples=40)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(set(mutate.REPAIRED), key=str)), randoms)
def test_repaired_mutations_are_refused_or_change_nothing(found, name, change, rng):
    result = found.target(change(rng, SOUND[name], list(SOUND.values())), 1)
    assert result.split(":")[0].split(",")[0] in ("peek", "decode", "same picture")


@given(st.sampled_from(NAMES), st.sampled_from(mutate.PLAIN), randoms)
def test_plain_mutations_do_not_pass_the_checksum(name, change, rng):
    changed = change(rng, SOUND[name], list(SOUND.values()))
    if changed in SOUND.values():
        return
    with pytest.raises(DamagedFileError):
        peek(changed)


@settings(max_examples=300)
@given(st.sampled_from(NAMES), randoms)
def test_repaired_headers_reach_the_header(name, rng):
    """The checksum of the file holds, so that a refusal is one of the header."""
    changed = mutate.repaired_header(rng, SOUND[name], [])
    try:
        header, lanes = unpack(changed, LIMITS)
    except VdmError as error:
        assert "does not agree" not in str(error)
    else:
        again = pack(header, lanes)
        assert unpack(again)[0] == header
        assert again == changed or header.chunks  # a list may be compressed in several ways


@pytest.fixture(scope="module")
def packed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
        yield worker.cases("archive")


@settings(max_examples=40)
@given(st.sampled_from(sorted(set(mutate_archives.REPAIRED), key=str)), st.booleans(), randoms)
def test_mutated_archives_are_refused_or_lose_groups(packed, change, extract, rng):
    data = change(rng, packed.seeds["small"], [packed.seeds["small"], packed.seeds["singles"]])
    assert packed.target(data, 2 if extract else 1)


def test_sound_archives_pass(packed):
    for data in packed.seeds.values():
        assert packed.target(data, 1) == "same pictures"
        assert packed.target(data, 2) == "extract: exit code 0"


def test_a_wrong_picture_of_an_archive_is_seen(packed):
    target, data = packed.target, packed.seeds["small"]
    turned = {crc: [replace(p, pixels=255 - p.pixels) for p in seed] for crc, seed in target.groups.items()}
    short = {crc: seed[1:] for crc, seed in target.groups.items()}
    for groups, match in (({}, "group: 8 images"), (short, "group: 8"), (turned, "picture: other colours")):
        with pytest.raises(Broken, match=f"wrong {match}"):
            replace(target, groups=groups)(data)
    with pytest.raises(Broken, match="wrong picture: no seed's"):
        replace(target, singles={})(packed.seeds["singles"])


@pytest.mark.parametrize(
    "code, made, match",
    [(1, "out/x", "exit code 1"), (0, "beside", "beside the folder"), (0, "out/x", "exit code 0, 1 of 12")],
)
def test_what_extract_must_not_do_is_seen(packed, monkeypatch, code, made, match):
    def cli(arguments, standalone_mode):
        place = Path(arguments[2]).parent / made
        place.parent.mkdir(exist_ok=True)
        place.touch()
        return code

    monkeypatch.setattr("cli.main.cli", cli)
    with pytest.raises(Broken, match=match):
        packed.target(packed.seeds["small"], 2)


@settings(max_examples=100)
@given(st.sampled_from(["mixed", "small", "model"]), randoms)
def test_repaired_archives_reach_what_is_behind_the_checksums(packed, name, rng):
    data = packed.seeds[name]
    for change in (mutate_archives.repaired_directory, mutate_archives.repaired_members):
        changed = change(rng, data, [data])
        for record, images in mutate_archives.records_of(changed):
            try:
                unpack_group(record, LIMITS) if images else unpack_model(record)
            except VdmError as error:
                assert "does not agree" not in str(error)


@given(st.binary(max_size=80))
def test_the_targets_of_atheris_run_without_it(data):
    coverage.container_target(data)
    coverage.header_target(data)
    coverage.directory_target(data)


def test_every_previewed_mutation_is_a_picture_or_damage(found):
    data = SOUND["rgb-33x47"]
    for seed in range(4):
        changed = mutate.repaired_few_bits(np.random.default_rng(seed), data, [data])
        assert found.target(changed, 4) in ("preview", "decode: DamagedFileError")


def broken(target, data, match):
    with pytest.raises(Broken, match=f"wrong picture: {match}"):
        target(data)


def test_a_wrong_picture_is_seen(found):
    """A sound file of a picture that no seed has, and some that are nearly a seed's picture."""
    data = SOUND["webp-grey"]
    pixels = decode(data)
    turned = array_picture(np.ascontiguousarray(pixels[:, ::-1]))
    broken(FileTarget({peek(data).pixel_crc: turned}), data, "other colours")
    broken(FileTarget({}), data, "no seed's")
    assert found.target(data, 1) == "same picture"


def test_a_wrong_mode_palette_or_transparency_is_seen(found):
    data = SOUND["palette-4bit"]
    crc, seed = peek(data).pixel_crc, decode_picture(data)
    palette, clear = seed.chunks
    for other, match in (
        (replace(seed, chunks=(palette,)), "other tRNS"),
        (replace(seed, chunks=(Chunk(b"PLTE", bytes(48)), clear)), "other PLTE"),
        (replace(seed, depth=8), "mode 4-bit palette, not palette"),
        (replace(seed, pixels=seed.pixels[::-1]), "other colours"),
    ):
        broken(FileTarget({crc: other}), data, match)
    text = Chunk(b"tEXt", b"a\0b")
    assert FileTarget({crc: replace(seed, chunks=(palette, clear, text))})(data).endswith("other metadata")


@pytest.mark.parametrize("part", ["alpha", "chunks", "section"])
def test_mutations_alter_what_they_are_for(part):
    """Often enough so that it can be read; the checksum of the file holds always."""
    change, seeds, altered = getattr(mutate, f"repaired_{part}"), list(SOUND.values()), 0
    for index, name in enumerate(NAMES * 4):
        before, were = unpack(SOUND[name])
        try:
            header, parts = unpack(change(np.random.default_rng(index), SOUND[name], seeds), LIMITS)
        except VdmError as error:
            assert "does not agree" not in str(error)
            continue
        if part == "alpha":
            altered += header.alpha is not None and (header.alpha, parts[0]) != (before.alpha, were[0])
        else:
            altered += header.chunks != before.chunks
    assert altered > len(NAMES) / 4


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), VdmError("plain")])
def test_other_errors_are_seen(monkeypatch, found, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("fuzz.targets.decode", fail)
    monkeypatch.setattr("fuzz.targets.decode_picture", fail)
    records = [worker.attempt(found, 1, index) for index in range(1, 30, 2)]
    assert all(record["kind"].startswith("repaired") for record in records)
    assert {record["result"].split(":")[0] for record in records if not record["broken"]} <= {"peek"}
    assert any(record["broken"] for record in records)


def test_cases_can_be_had_again(found):
    made = [found.make(1, index) for index in range(40)]
    assert made == [found.make(1, index) for index in range(40)]
    assert len({data for _, data, _ in made}) == 40
    assert not {data for _, data, _ in made} & set(SOUND.values())
    assert [kind.split()[0] for kind, _, _ in made[:4]] == ["plain", "repaired"] * 2


def record(**changes):
    usual = {"case": 0, "kind": "plain x", "result": "fine", "broken": False}
    return usual | {"wall": 0.1, "processor": 0.1, "memory": 5} | changes


def test_slow_and_large_cases_are_broken_promises():
    tally = drive.Tally(2.0, 100)
    for one in (record(), record(processor=2.5), record(memory=101), record(broken=True, result="bad")):
        tally.add(one)
    report = tally.report()
    assert [r["result"] for r in report["broken"]] == ["processor 2.5", "memory 101", "bad"]
    assert report["outcomes"] == {"plain": {"BROKEN": 1, "fine": 3}}
    assert (report["slowest"]["processor"], report["largest"]["memory"]) == (2.5, 101)


@pytest.mark.parametrize(
    "ending, fault",
    [
        ("import os; os.abort()", "status -6"),
        ("import time; time.sleep(60)", "no end after 0.5 s"),
        ("", None),
    ],
)
def test_workers_that_die_or_hang_are_seen(ending, fault):
    lines = f"0\n{json.dumps(record())}\n1"
    if fault is None:
        lines += f"\n{json.dumps(record(case=1))}"
    tally = drive.Tally(2.0, 100)
    command = [sys.executable, "-c", f"print({lines!r}, flush=True); {ending}"]
    assert drive.watch(command, 0, 9, 0.5, tally) == (9 if fault is None else 2)
    assert tally.cases == 2
    assert [fault in r["result"] for r in tally.broken] == ([] if fault is None else [True])


def test_a_small_file_starts_no_work(monkeypatch):
    """Sixty bytes that claim a quarter of a gigapixel: refused before the model is looked for."""

    def find_model(_hash):
        raise AssertionError("work has begun")

    monkeypatch.setattr("vdmcompress.model_search.find_model", find_model)
    data = corpus.load("damaged")["hour-of-work"]
    with pytest.raises(DamagedFileError, match="16384x16384 pixels, allowed are at most"):
        decode(data)
    assert file_lengths(SOUND["rgb-17x12"])[1] > 100
    monkeypatch.undo()
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    with pytest.raises(LimitError, match="allowed are 1 MiB"):
        decode(SOUND["rgb-17x12"], memory=1 << 20)


def test_the_page_has_the_figures_of_the_reports():
    reports = table.load()
    page = table.PAGE.read_text()
    assert table.replace(page, table.render(reports)) == page
    assert set(reports) == {"archive", "file", "image", "model"}
    assert not any(report["broken"] for report in reports.values())
    with pytest.raises(ValueError, match="must have <!-- fuzz -->"):
        table.replace("no markers", "")
