"""Files are written whole or not at all, and nothing is overwritten by accident."""

import os
import stat

import pytest

from vdmcompress import files
from vdmcompress.errors import UsageError
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
        with pytest.raises(UsageError, match="exists"):
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
