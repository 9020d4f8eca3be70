"""Files are written whole or not at all, and nothing is overwritten by accident."""

import errno
import os
import stat
import subprocess
import sys
import zlib

import pytest

from tests.conftest import ROOT
from vdmcompress import files
from vdmcompress.errors import UsageError, WriteError
from vdmcompress.files import check_output, write_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_all_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.vdm"
    check_output(target)
    write_file(target, b"data")
    assert target.read_bytes() == b"data"
    assert names(tmp_path) == ["a.vdm"]


def test_new_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    write_file(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == usual.stat().st_mode


def test_existing_file_needs_force(tmp_path):
    target = tmp_path / "a.vdm"
    target.write_bytes(b"old")
    os.chmod(target, 0o640)
    for refuse in (check_output, lambda path: write_file(path, b"new")):
        with pytest.raises(UsageError, match="exists; .* with -f"):
            refuse(target)
    assert target.read_bytes() == b"old"
    check_output(target, force=True)
    write_file(target, b"new", force=True)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names(tmp_path) == ["a.vdm"]


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_replaced(tmp_path, link):
    source = output = tmp_path / "a.png"
    source.write_bytes(b"picture")
    if link:
        output = tmp_path / "b.png"
        link(source, output)
    for force in (False, True):
        with pytest.raises(UsageError):
            write_file(output, b"new", force=force, inputs=[tmp_path / "missing", source])
    with pytest.raises(UsageError, match="is the input"):
        check_output(output, force=True, inputs=[source])
    assert source.read_bytes() == b"picture"


def test_symbolic_link_needs_force_and_stays(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real, link = folder / "real", tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(UsageError, match="symbolic link"):
        write_file(link, b"new")
    assert names(folder) == []
    for data in (b"first", b"second"):
        write_file(link, data, force=True)
        assert link.is_symlink()
        assert real.read_bytes() == data
    assert names(folder) == ["real"]


@pytest.mark.parametrize("force", [False, True])
def test_folders_and_devices_are_refused(tmp_path, force):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="no regular file"):
            write_file(path, b"", force=force)
    with pytest.raises(UsageError, match=r"missing of output a\.vdm does not exist"):
        check_output(tmp_path / "missing" / "a.vdm", force=force)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_alone(tmp_path, monkeypatch, error, step):
    target = tmp_path / "a.vdm"
    target.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(error):
        write_file(target, b"new", force=True)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.vdm"]


def test_a_failure_leaves_no_new_file(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "link", fail)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.vdm", b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, hard_links):
    target = tmp_path / "a.vdm"
    fsync, link = os.fsync, os.link

    def appear(handle):
        target.write_bytes(b"other's")
        fsync(handle)

    def no_link(source, to):
        if hard_links:
            link(source, to)
        else:
            raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(files.os, "fsync", appear)
    monkeypatch.setattr(files.os, "link", no_link)
    with pytest.raises(UsageError, match="appeared|exists"):
        write_file(target, b"new")
    assert target.read_bytes() == b"other's"
    assert names(tmp_path) == ["a.vdm"]


def test_without_hard_links(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(files.errno.ENOTSUP, "no hard links here")

    monkeypatch.setattr(files.os, "link", no_link)
    write_file(tmp_path / "a.vdm", b"new")
    assert (tmp_path / "a.vdm").read_bytes() == b"new"
    assert names(tmp_path) == ["a.vdm"]


def test_file_and_folder_are_synced(tmp_path, monkeypatch):
    kinds = []
    fsync = os.fsync

    def record(handle):
        kinds.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", record)
    write_file(tmp_path / "a.vdm", b"new")
    assert kinds == [False, True]


def test_permissions_and_times_of_another_file(tmp_path):
    model = tmp_path / "model"
    model.write_bytes(b"")
    os.chmod(model, 0o4604)
    os.utime(model, ns=(10**18, 10**18 + 7))
    for target, old in ((tmp_path / "new", None), (tmp_path / "old", b"old")):
        if old is not None:
            target.write_bytes(old)
            os.chmod(target, 0o600)
        write_file(target, b"data", force=old is not None, like=model)
        assert stat.S_IMODE(target.stat().st_mode) == 0o604
        assert target.stat().st_mtime_ns == 10**18 + 7
        assert target.stat().st_atime_ns == 10**18


def test_nobody_else_reads_a_private_file_while_it_is_written(tmp_path, monkeypatch):
    model = tmp_path / "model"
    model.write_bytes(b"")
    os.chmod(model, 0o600)
    modes = []
    fsync = os.fsync

    def record(handle):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        fsync(handle)

    def opened(path, flags):
        handle = private(path, flags)
        record(handle)
        return handle

    private = files._private
    monkeypatch.setattr(files, "_private", opened)
    write_file(tmp_path / "new", b"data", like=model)
    assert modes == [0o600]


def test_folders_below_a_root_are_made_and_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "_sync_folder", synced.append)
    root = tmp_path / "new" / "root"
    check_output(root / "a" / "b.vdm", root=root)
    assert names(tmp_path) == []
    write_file(root / "a" / "b.vdm", b"data", root=root)
    assert (root / "a" / "b.vdm").read_bytes() == b"data"
    assert synced == [tmp_path, tmp_path / "new", root, root / "a"]
    with pytest.raises(UsageError, match="does not exist"):
        check_output(tmp_path / "other" / "b.vdm", root=root)


def test_what_is_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file is no folder; name another one for output b\.vdm"):
        check_output(tmp_path / "file" / "b.vdm", root=tmp_path)


def test_folders_below_a_root_are_not_reached_by_links_unless_forced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "sub").symlink_to(tmp_path / "elsewhere")
    output = tmp_path / "root" / "sub" / "more" / "a.vdm"
    with pytest.raises(UsageError, match="sub of output a.vdm is a symbolic link"):
        write_file(output, b"data", root=tmp_path / "root")
    assert names(tmp_path / "elsewhere") == []
    write_file(output, b"data", root=tmp_path / "root", force=True)
    assert (tmp_path / "elsewhere" / "more" / "a.vdm").read_bytes() == b"data"
    (tmp_path / "way").symlink_to(tmp_path / "root")
    write_file(tmp_path / "way" / "b.vdm", b"data", root=tmp_path / "way")


def test_a_folder_that_must_not_be_written_to_is_refused_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda folder, mode: False)
    for root in (None, tmp_path):
        with pytest.raises(UsageError, match="cannot be written to; name another one"):
            check_output(tmp_path / "a.vdm", root=root)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "folder that is yours"), (errno.EIO, "another folder")],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_the_system_s_refusal_names_the_file_and_what_to_do(tmp_path, monkeypatch, number, words, step):
    target = tmp_path / "a.vdm"
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(WriteError, match=f"output {target} cannot be written: .*; .*{words}"):
        write_file(target, b"new", force=True)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.vdm"]


def test_a_folder_that_ignores_case_is_recognised(tmp_path, monkeypatch):
    assert files.ignores_case(tmp_path / "not" / "there") is (tmp_path / tmp_path.name.upper()).exists()
    real = type(tmp_path).touch

    def touch(path, *how, **named):
        real(path, *how, **named)
        real(path.with_name(path.name.replace("A.part", "a.part")))

    monkeypatch.setattr(type(tmp_path), "touch", touch)
    assert files.ignores_case(tmp_path)


KILLED = """
import os, random, signal, sys, time, zlib
from pathlib import Path
from vdmcompress.files import write_file

def write(target, force, size):
    for count in range(1_000_000):
        body = bytes([count % 251]) * (size + count % 7 * 1000)
        body += zlib.crc32(body).to_bytes(4, "little")
        write_file(target if force else f"{target}{count}", body, force=force)

def whole(path):
    data = path.read_bytes()
    return len(data) > 4 and zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")

folder, force, rounds = Path(sys.argv[1]), sys.argv[2] == "force", int(sys.argv[3])
rng = random.Random(8)
files = parts = 0
for _ in range(rounds):
    pid = os.fork()
    if pid == 0:
        write(folder / "a.vdm", force, rng.choice([1000, 100_000, 3_000_000]))
    time.sleep(rng.uniform(0.001, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for path in list(folder.iterdir()):
        if path.name.endswith(".part"):
            parts += 1
        else:
            files += 1
            if not whole(path):
                sys.exit(f"{path} is neither the old file nor the new one")
        if path.name.endswith(".part") or not force:
            path.unlink()
print(files, parts)
"""
"""Processes that write whole files, which can be told from parts, for ever, and are killed after a while."""

KILLS = 60


@pytest.mark.parametrize("how", ["force", "new"])
def test_a_process_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, how):
    (tmp_path / "a.vdm").write_bytes(b"old" + zlib.crc32(b"old").to_bytes(4, "little"))
    command = [sys.executable, "-c", KILLED, str(tmp_path), how, str(KILLS)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert result.returncode == 0, result.stderr
    found, parts = map(int, result.stdout.split())
    assert found == KILLS if how == "force" else found > 1
    assert parts > KILLS / 10  # else hardly a round was cut short within a write


def test_of_two_processes_that_write_one_file_one_wins(tmp_path):
    code = (
        "import sys\n"
        "from vdmcompress.errors import UsageError\n"
        "from vdmcompress.files import write_file\n"
        "sys.stdin.read(1)\n"
        "won = 0\n"
        "for i in range(200):\n"
        "    try:\n"
        "        write_file(f'{sys.argv[1]}/{i}', sys.argv[2].encode() * 100)\n"
        "        won += 1\n"
        "    except UsageError:\n"
        "        pass\n"
        "print(won)\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for name in "xy"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"!")
        writer.stdin.flush()
    won = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    assert sum(won) == 200
    found = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert found == [b"x" * 100] * won[0] + [b"y" * 100] * won[1]
