"""Archives there and back through the library: mixed images, damage, resuming, processes, models."""

import hashlib
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import vdmcompress
from fuzz import corpus
from tests import image_files, model_support
from vdmcompress.archive import create as creation
from vdmcompress.archive.coder import decode_group, encode_group
from vdmcompress.archive.create import Source, create
from vdmcompress.archive.grouping import DEFAULT_GROUP, GroupSize, groups_of
from vdmcompress.archive.reader import Archive
from vdmcompress.archive.records import HEAD, Record, model_record, pack_index
from vdmcompress.archive.runners import Processes
from vdmcompress.archive.settings import Entry, GroupSettings
from vdmcompress.chunks import Chunk
from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    ModelMissingError,
    UsageError,
    VdmError,
)
from vdmcompress.header import Limits
from vdmcompress.model_file import parse_model
from vdmcompress.picture import Mode, Picture, array_picture, difference
from vdmcompress.workers import WorkerDied

MODEL = str(model_support.INTEGER)
HOW = {"model": MODEL, "threads": 1}
SETTINGS = GroupSettings(model=MODEL, threads=1)
ICC = Chunk(b"iCCP", b"profile\0\0" + bytes(300))


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))


def photo(index, height=16, width=16, channels=3):
    whole = model_support.photo(200, 300, channels)
    y, x = index * 37 % (200 - height), index * 53 % (300 - width)
    return np.ascontiguousarray(whole[y : y + height, x : x + width])


def mixed():
    """Images of every kind, as (name, picture)."""
    rgb = [(f"p/{i:02}.png", array_picture(photo(i))) for i in range(12)]
    alpha = np.dstack((photo(3), np.full((16, 16), 200, np.uint8)))
    others = [
        ("wide.png", array_picture(photo(1, 20, 33))),
        ("grey.png", array_picture(photo(2, 16, 16, 1))),
        ("with icc.png", replace(array_picture(photo(4)), chunks=(ICC,))),
        ("again icc.png", replace(array_picture(photo(5)), chunks=(ICC, Chunk(b"tEXt", b"a\0b", True)))),
        ("rgba.png", array_picture(alpha)),
        ("la.png", array_picture(np.ascontiguousarray(alpha[..., 2:]))),
        ("flat.png", array_picture(np.full((40, 40, 3), 7, np.uint8))),
        ("pattern.png", array_picture(np.tile(model_support.noise(4, 4), (10, 10, 1)))),
        ("deep.png", array_picture(np.arange(60, dtype=np.uint16).reshape(6, 10) * 999)),
        ("bits.png", Picture(Mode.GREY, 1, np.eye(9, dtype=np.uint8))),
        ("palette.png", Picture(Mode.PALETTE, 2, np.eye(5, dtype=np.uint8), (Chunk(b"PLTE", bytes(12)),))),
        ("dot.png", array_picture(np.full((1, 1, 3), 99, np.uint8))),
        ("keyed.png", replace(array_picture(photo(6)), chunks=(Chunk(b"tRNS", bytes(6)),))),
    ]
    return rgb[:5] + others + rgb[5:]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive of `mixed` in groups of seven, and its pictures by name."""
    os.environ["VDMC_MODEL_PATH"] = str(corpus.DATA)
    try:
        path = tmp_path_factory.mktemp("archive") / "a.vdma"
        created = create(path, mixed(), group=GroupSize(images=7), **HOW)
    finally:
        del os.environ["VDMC_MODEL_PATH"]
    return path, dict(mixed()), created


def check_all(archive, pictures):
    found = dict(archive.pictures())
    assert found.keys() == pictures.keys()
    for name, picture in found.items():
        assert difference(picture, pictures[name]) is None, name


def test_everything_comes_back(made):
    path, pictures, created = made
    assert (created.images, created.groups, created.size) == (25, 4, path.stat().st_size)
    assert created.values == sum(p.width * p.height * p.mode.channels for p in pictures.values())
    with Archive(path) as archive:
        assert len(archive) == 25
        assert set(archive.names) == set(archive) == pictures.keys()
        check_all(archive, pictures)
        for member in archive.members():
            picture = pictures[member.name]
            assert (member.width, member.height) == (picture.width, picture.height)
            assert (member.mode, member.depth) == (picture.mode, picture.depth)
            assert member.modified is None
        assert archive.damage is None
        assert not list(archive.embedded())


def test_one_by_name_decodes_one_group(made, monkeypatch):
    path, pictures, _ = made
    with Archive(path, threads=1) as archive:
        seen = []
        record = archive.group_record
        monkeypatch.setattr(archive, "group_record", lambda number: seen.append(number) or record(number))
        for name in ("p/07.png", "p/07.png"):
            assert difference(archive.read(name), pictures[name]) is None
        assert len(seen) == 1
        assert archive.info("grey.png").mode is Mode.GREY
        assert "grey.png" in archive
        assert "none.png" not in archive
        with pytest.raises(UsageError, match="no image 'none.png'"):
            archive.read("none.png")
        some = dict(archive.pictures(["deep.png", "p/00.png"]))
        assert some.keys() == {"deep.png", "p/00.png"}


def test_singles_are_what_diffusion_serves_worse(made):
    path, _, _ = made
    with Archive(path) as archive:
        singles = {member.name for member in archive.members() if member.single}
    assert {"pattern.png", "deep.png", "bits.png", "palette.png"} <= singles
    assert not singles & {"p/00.png", "rgba.png", "wide.png", "with icc.png"}


def test_golden_bytes(made):
    """The bytes of an archive with the tiny test model; a change here is a change of the format."""
    path, _, _ = made
    with Archive(path) as archive:
        plain = [n for n in range(4) if not any(m.single for m in archive.group_members(n))]
        digest = hashlib.sha256(archive.group_record(plain[0])).hexdigest()[:16]
    assert (plain, digest) == GOLDEN


GOLDEN = ([0, 3], "c14d78c79202eac3")


def test_an_archive_of_the_tests_data():
    """An archive that was written once goes on to decode."""
    path = model_support.DATA / "sample.vdma"
    with Archive(path, threads=1) as archive:
        check_all(archive, dict(mixed()))


def test_a_damaged_group_loses_only_itself(made, tmp_path):
    path, pictures, _ = made
    data = path.read_bytes()
    with Archive(path) as archive:
        groups = archive.groups
        names = [{m.name for m in archive.group_members(n)} for n in range(4)]
    for lost, place in ((1, 5), (2, 60), (1, groups[1].length - 3)):
        bad = bytearray(data)
        bad[groups[lost].offset + place] ^= 4
        target = tmp_path / "bad.vdma"
        target.write_bytes(bad)
        with Archive(target) as archive:
            for number in range(4):
                if number == lost:
                    with pytest.raises(DamagedFileError):
                        archive.decode(number)
                else:
                    found = archive.decode(number)
                    assert found.keys() == names[number]
                    assert all(difference(p, pictures[n]) is None for n, p in found.items())


def test_without_its_index_the_groups_are_found(made, tmp_path):
    path, pictures, _ = made
    data = path.read_bytes()
    with Archive(path) as archive:
        last = archive.groups[3]
    target = tmp_path / "cut.vdma"
    for end, groups in ((len(data) - 1, 4), (last.offset + last.length, 4), (last.offset + 9, 3)):
        target.write_bytes(data[:end])
        with Archive(target) as archive:
            assert isinstance(archive.damage, DamagedFileError)
            assert len(archive.groups) == groups
            if groups == 4:
                check_all(archive, pictures)
    for end in range(0, 40, 3):
        target.write_bytes(data[:end])
        with pytest.raises(DamagedFileError):
            Archive(target)


def test_altered_pixels_in_a_group_are_noticed(made, monkeypatch):
    """All checksums but that of the pixels agree: the group was made up."""
    from vdmcompress.archive import coder

    entries = [Entry(f"{i}", array_picture(photo(i))) for i in range(3)]
    crc = coder._crc
    monkeypatch.setattr(coder, "_crc", lambda pictures: crc(pictures) ^ 1)
    record = encode_group(entries, replace(SETTINGS, verify=False)).record
    monkeypatch.setattr(coder, "_crc", crc)
    with pytest.raises(DamagedFileError, match="CRC-32"):
        decode_group(record, settings=SETTINGS)


def test_what_does_not_decode_is_not_written(monkeypatch, tmp_path):
    from vdmcompress.archive import coder

    decode = coder.decode_group

    def other(*arguments, **named):
        found = decode(*arguments, **named)
        member, picture = found[0]
        return [(member, replace(picture, pixels=picture.pixels ^ 1)), *found[1:]]

    monkeypatch.setattr(coder, "decode_group", other)
    with pytest.raises(MachineError, match="do not decode"):
        create(tmp_path / "a.vdma", mixed()[:2], **HOW)
    assert list(tmp_path.iterdir()) == []


def test_limits_hold_for_groups(made):
    path, _, _ = made
    with Archive(path, limits=Limits(500)) as archive, pytest.raises(LimitError):
        dict(archive.pictures())
    with Archive(path, memory=1 << 20) as archive, pytest.raises(LimitError, match="MiB"):
        archive.read("p/00.png")


def files(folder, count=9):
    """PNG files of photographs, with times and permissions of their own."""
    folder.mkdir()
    for i in range(count):
        path = folder / f"{i}.png"
        Image.fromarray(photo(i)).save(path)
        os.utime(path, (1_600_000_000 + i, 1_600_000_000 + i))
        os.chmod(path, 0o640 if i % 2 else 0o600)
    return sorted(folder.iterdir())


class Stop(Exception):
    pass


def test_resuming_gives_the_same_bytes(tmp_path, monkeypatch):
    sources = files(tmp_path / "in")
    whole, target = tmp_path / "whole.vdma", tmp_path / "a.vdma"
    size = GroupSize(images=2)
    create(whole, sources, group=size, **HOW)
    assert {p.name for p in tmp_path.iterdir()} == {"in", "whole.vdma"}

    def stop(done, *_):
        if done >= 4:
            raise Stop

    with pytest.raises(Stop):
        create(target, sources, group=size, progress=stop, **HOW)
    assert not target.exists()
    (part,) = tmp_path.glob(".a.vdma.*.part")
    with part.open("ab") as file:
        file.write(b"G and half a group")  # as a process leaves it that is killed
    read = []
    entry = Source.entry
    monkeypatch.setattr(Source, "entry", lambda self, *a: read.append(self.name) or entry(self, *a))
    created = create(target, sources, group=size, resume=True, **HOW)
    assert target.read_bytes() == whole.read_bytes()
    assert (created.images, created.resumed, len(read)) == (9, 4, 5)
    assert not list(tmp_path.glob(".*"))


def test_resuming_knows_other_settings_and_changed_files(tmp_path):
    sources = files(tmp_path / "in", 4)
    target, size = tmp_path / "a.vdma", GroupSize(images=2)

    def stop(*_):
        raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            create(target, sources, group=size, progress=stop, **HOW)
    assert create(target, sources, group=GroupSize(images=3), resume=True, **HOW).resumed == 0
    with pytest.raises(Stop):
        create(target, sources, group=size, progress=stop, force=True, **HOW)
    os.utime(sources[0], (1, 1))
    with pytest.raises(UsageError, match="has changed since"):
        create(target, sources, group=size, resume=True, force=True, **HOW)
    met = []
    create(target, sources, group=size, resume=True, force=True, failed=lambda *e: met.append(e), **HOW)
    assert [name for name, _ in met] == [str(sources[0]).lstrip("/")]


def interrupted(target, sources, **how):
    """Leave a partial archive with one group of two images."""

    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        create(target, sources, group=GroupSize(images=2), progress=stop, **HOW, **how)


@pytest.mark.parametrize("other", [{"strip": True}, {"verify": False}])
def test_stripped_or_unverified_groups_are_not_gone_on_with(tmp_path, other):
    whole, target = tmp_path / "whole.vdma", tmp_path / "a.vdma"
    sources = [(f"{i}", replace(array_picture(photo(i)), chunks=(ICC,))) for i in range(3)]
    for first, then in (({}, other), (other, {})):
        interrupted(target, sources, **first)
        assert create(target, sources, group=GroupSize(images=2), resume=True, **HOW, **then).resumed == 0
        create(whole, sources, group=GroupSize(images=2), force=True, **HOW, **then)
        assert target.read_bytes() == whole.read_bytes()
        with Archive(target, threads=1) as archive:
            assert all(p.chunks == (() if then.get("strip") else (ICC,)) for _, p in archive.pictures())
        target.unlink()
        interrupted(target, sources, **then)
        assert create(target, sources, group=GroupSize(images=2), resume=True, **HOW, **then).resumed == 2
        target.unlink()


def test_times_that_were_not_kept_do_not_hinder_resuming(tmp_path):
    """A group keeps times where all its images have one."""
    path = files(tmp_path / "in", 1)[0]
    sources = [("a", photo(5)), ("b", path), ("c", photo(6))]
    interrupted(tmp_path / "a.vdma", sources)
    assert create(tmp_path / "a.vdma", sources, group=GroupSize(images=2), resume=True, **HOW).resumed == 2


def test_partial_files_of_other_archives_stay(tmp_path):
    """`.set.vdma.*.part` has the form of one of `set` at first sight."""
    sources = [(f"{i}", photo(i)) for i in range(3)]
    interrupted(tmp_path / "set", sources)
    interrupted(tmp_path / "set.vdma", sources)
    other = tmp_path / ".set.mine.part"
    other.touch()
    create(tmp_path / "set", sources, **HOW)
    (part,) = tmp_path.glob(".set.vdma.*.part")
    create(tmp_path / "set.vdma", sources, **HOW)
    assert {p.name for p in tmp_path.iterdir()} == {"set", "set.vdma", other.name}
    assert not part.exists()


def test_two_runs_do_not_write_one_file(tmp_path):
    def second(*_):
        with pytest.raises(UsageError, match="another run"):
            create(tmp_path / "a.vdma", mixed()[:2], resume=True, **HOW)

    create(tmp_path / "a.vdma", mixed()[:2], progress=second, **HOW)


def test_failures_leave_nothing(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    target = tmp_path / "a.vdma"
    cases = [
        ([], "no images"),
        ([("a", photo(0)), ("a", photo(1))], "occurs twice"),
        ([("../a", photo(0))], "cannot be a member's"),
        ([("a", photo(0)), ("a/b", photo(0))], "is a member and the folder"),
    ]
    for sources, message in cases:
        with pytest.raises(UsageError, match=message):
            create(target, sources, **HOW)
    with pytest.raises(VdmError):
        create(target, [bad], **HOW)
    with pytest.raises(ModelMissingError):
        create(target, [("a", photo(0))], model="nobody", threads=1)
    with pytest.raises(UsageError, match="latents"):
        create(target, [("a", photo(0))], latents="some")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.png"]
    met = []
    made = create(target, [bad, ("b", photo(0))], failed=lambda name, e: met.append(name), **HOW)
    assert (made.images, len(met)) == (1, 1)
    with pytest.raises(UsageError, match="exists"):
        create(target, [("b", photo(0))], **HOW)


def test_times_and_permissions_are_kept(tmp_path):
    sources = files(tmp_path / "in", 3)
    create(tmp_path / "a.vdma", [(p.name, p) for p in sources], **HOW)
    with Archive(tmp_path / "a.vdma") as archive:
        kept = [(m.name, m.modified, m.permissions) for m in archive.members()]
    assert kept == [(f"{i}.png", 1_600_000_000 + i, 0o640 if i % 2 else 0o600) for i in range(3)]


def test_processes_make_the_same_bytes(made, tmp_path):
    path, _, _ = made
    again = tmp_path / "a.vdma"
    create(again, mixed(), group=GroupSize(images=7), jobs=2, **HOW)
    assert again.read_bytes() == path.read_bytes()


def test_a_process_that_dies_is_replaced(tmp_path):
    from tests.batch_support import die_once, work

    assert list(Processes(2).map(work, ["a", "b", "c"])) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="no fail"):
        list(Processes(2).map(work, ["a", "fail", "c"]))
    with pytest.raises(WorkerDied):
        list(Processes(2).map(work, ["a", "die", "c"]))
    lost = list(Processes(2, died=str).map(work, ["a", "die", "c"]))
    assert (lost[0], lost[2]) == ("a", "c")
    assert "SIGKILL" in lost[1]
    mark = str(tmp_path / "mark")
    assert list(Processes(1).map(die_once, [mark, mark])) == ["lived", "lived"]


def test_the_model_travels_along(tmp_path, monkeypatch):
    target = tmp_path / "a.vdma"
    plain = create(tmp_path / "plain.vdma", mixed()[:3], **HOW).size
    model = tmp_path / "mine.safetensors"
    shutil.copy(model_support.INTEGER, model)
    monkeypatch.delenv("VDMC_MODEL_PATH")
    create(
        target,
        mixed()[:3],
        embed_model=True,
        model=str(model),
        threads=1,
        group=GroupSize(images=1),
    )
    model.unlink()
    assert target.stat().st_size > model_support.INTEGER.stat().st_size + plain
    with Archive(target, threads=1) as archive:
        assert list(archive.embedded()) == [model_support.INTEGER.read_bytes()]
        assert difference(archive.read("p/01.png"), dict(mixed())["p/01.png"]) is None
    from vdmcompress.archive import coder

    parsed = []
    monkeypatch.setattr(coder, "_parse", lambda data: parsed.append(data) or parse_model(data, "test"))
    with_others(target, tmp_path / "others.vdma", [b"no model", b"", bytes(1000)])
    with Archive(tmp_path / "others.vdma", threads=1) as archive:
        assert len(list(archive.embedded())) == 4
        assert difference(archive.read("p/01.png"), dict(mixed())["p/01.png"]) is None
        assert parsed == [model_support.INTEGER.read_bytes()]
    coder._find.cache_clear()
    with Archive(tmp_path / "plain.vdma") as archive, pytest.raises(ModelMissingError):
        archive.read("p/01.png")


def with_others(path, target, models):
    """The archive with more model records in front of its own parts."""
    with Archive(path) as archive:
        old = sorted([*archive.groups, *archive.models], key=lambda record: record.offset)
    data = path.read_bytes()
    added = [model_record(model) for model in models]
    records = [Record(0, len(record), 0) for record in added] + old
    body = data[len(HEAD) : old[-1].offset + old[-1].length]
    target.write_bytes(HEAD + b"".join(added) + body + pack_index(records))


def test_no_more_of_a_model_is_read_than_its_head_allows(tmp_path, monkeypatch):
    """An index that has a model with more bytes than its record: the head is read, and nothing else."""
    record = model_record(b"model")
    path = tmp_path / "a.vdma"
    swollen = Record(len(HEAD), len(record) + (1 << 20), 0)
    path.write_bytes(HEAD + record + bytes(1 << 20) + pack_index([swollen]))
    with Archive(path) as archive:
        read = []
        file = archive._file

        class Watched:
            seek = file.seek
            close = file.close

            def read(self, size):
                read.append(size)
                return file.read(size)

        monkeypatch.setattr(archive, "_file", Watched())
        assert archive.models == [swollen]
        assert archive.model_file(hashlib.sha256(b"model").digest()[:8]) is None
        assert sum(read) <= 32


def test_an_index_beyond_memory_is_a_limit(made, monkeypatch):
    def spent(*_):
        raise MemoryError

    monkeypatch.setattr("vdmcompress.archive.reader.read_index", spent)
    with pytest.raises(LimitError, match="memory for the index"):
        Archive(made[0])


def test_groups_by_images_and_by_bytes():
    entries = [Entry(str(i), array_picture(photo(i))) for i in range(10)]
    sizes = [len(g) for g in groups_of(entries, GroupSize(images=4), SETTINGS)]
    assert sizes == [4, 4, 2]
    sizes = [len(g) for g in groups_of(entries, GroupSize(bytes=3 * 768), SETTINGS)]
    assert sizes == [3, 3, 3, 1]
    assert [len(g) for g in groups_of(entries, GroupSize(bytes=1), SETTINGS)] == [1] * 10
    assert [len(g) for g in groups_of(entries, DEFAULT_GROUP, SETTINGS)] == [10]
    heavy = [
        replace(e, picture=replace(e.picture, chunks=(Chunk(b"tEXt", bytes(5 << 20)),))) for e in entries
    ]
    assert [len(g) for g in groups_of(heavy, DEFAULT_GROUP, SETTINGS)] == [3, 3, 3, 1]
    for bad in ({"images": 0}, {"images": 1 << 20}, {"bytes": 0}):
        with pytest.raises(UsageError):
            GroupSize(**bad)


def test_groups_are_made_as_images_come():
    """No more than a group and one image are read ahead."""
    read = 0

    def entries():
        nonlocal read
        for i in range(1000):
            read += 1
            yield Entry(str(i), array_picture(np.zeros((2, 2), np.uint8)))

    groups = groups_of(entries(), GroupSize(images=10), SETTINGS)
    for number in range(5):
        next(groups)
        assert read == 10 * (number + 1) + 1


def test_memory_does_not_grow_with_images(tmp_path, monkeypatch):
    """Peak of Python's and numpy's memory for 400 and for 4000 images; coding is left out."""
    import tracemalloc

    from vdmcompress.archive import group
    from vdmcompress.archive.settings import Made

    def coded(entries, settings):
        members = [entry.member(True) for entry in entries]
        parts = group.GroupParts(members, 0, None, [], [], [b"file"] * len(members))
        return Made(group.pack_group(parts), members, b"")

    monkeypatch.setattr("vdmcompress.archive.coder.encode_group", coded)
    tile = np.zeros((8, 8), np.uint8)
    peaks = {}
    for count in (400, 4000):
        target = tmp_path / f"{count}.vdma"
        tracemalloc.start()
        create(target, ((f"folder/{i:06}.png", tile) for i in range(count)), group=GroupSize(images=100))
        with Archive(target) as archive:
            assert sum(1 for _ in archive.members()) == count
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[4000] < 1.6 * peaks[400] + 300_000


def test_the_public_face(tmp_path):
    target = tmp_path / "a.vdma"
    vdmcompress.create_archive(target, [("a.png", photo(0)), ("b.png", Image.fromarray(photo(1)))], **HOW)
    with vdmcompress.Archive(target) as archive:
        assert archive.names == ["a.png", "b.png"]
        np.testing.assert_array_equal(archive.read("b.png").array(), photo(1))
    assert target.read_bytes().startswith(HEAD)
    assert creation.create is vdmcompress.create_archive


def test_files_that_lose_something_are_noted(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(image_files.saved(photo(0), "JPEG"))
    notes = []
    create(tmp_path / "a.vdma", [path], noted=lambda *n: notes.append(n), **HOW)
    assert any("lossy" in text for _, text in notes)
