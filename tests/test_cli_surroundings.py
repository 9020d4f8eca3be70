"""Odd surroundings: each works, or fails with one clear line and no harm."""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.report import printable
from cli.streams import START_BYTES, read_coded
from tests.cli_support import colours, load, png_file, save
from tests.conftest import ROOT
from vdmcompress.container import longest, pack
from vdmcompress.errors import DamagedFileError, LimitError
from vdmcompress.header import MAGIC, Header, Kind

GIGABYTE = 1 << 30


def run(*arguments, before=None, **how):
    """`vdmc` in a process of its own.  before: called in it before it starts."""
    code = "from cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(os.fspath, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | how.pop("env", {})
    return subprocess.run(
        command, capture_output=True, timeout=300, preexec_fn=before, env=environment, **how
    )


def sparse(path: Path, start: bytes) -> Path:
    """A file of 2 GB that takes no room: the start, then zeros."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(2 * GIGABYTE)
    return path


def limited_memory() -> None:
    """Less address space than the file has bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTE * 3 // 2, GIGABYTE * 3 // 2))


SMALL_HEADER = pack(Header(Kind.PNG, 4, 4, 3, 0), [b""])[:-4]


@pytest.mark.parametrize(
    ("start", "code", "words"),
    [
        (b"", 3, b"begins with"),
        (MAGIC, 3, b"size 0x0"),
        (SMALL_HEADER, 5, b"the most that"),
    ],
)
def test_two_gigabytes_of_zeros_are_refused_without_being_read(tmp_path, start, code, words):
    path = sparse(tmp_path / "zeros.vdm", start)
    result = run("decode", path, before=limited_memory)
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert os.listdir(tmp_path) == ["zeros.vdm"]


def test_little_of_a_long_file_is_read(tmp_path):
    path = sparse(tmp_path / "zeros.vdm", b"")
    began = os.times()
    with pytest.raises(DamagedFileError):
        read_coded(path)
    path = sparse(path, SMALL_HEADER)
    with pytest.raises(LimitError):
        read_coded(path)
    spent = os.times()
    assert spent.user + spent.system - began.user - began.system < 1  # reading 2 GB twice takes more


def test_an_endless_stream_is_not_read_to_its_end():
    code = f"import sys; sys.stdout.buffer.write({SMALL_HEADER!r} + bytes({START_BYTES * 4}))"
    source = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    result = run("info", "-", stdin=source.stdout)
    assert source.stdout is not None
    source.stdout.close()
    source.wait()
    assert result.returncode == 5, result.stderr


def test_the_longest_file_follows_from_its_header():
    assert longest(SMALL_HEADER) > len(png_file(colours(4, 4)))
    assert longest(SMALL_HEADER) < START_BYTES * 4
    large = pack(Header(Kind.PNG, 1000, 1000, 3, 0), [b""])
    assert longest(large) - longest(SMALL_HEADER) == 9 * (1000 * 1000 - 16)


def test_names_that_are_no_utf8_and_names_that_would_do_harm(tmp_path):
    for name in (b"na\xffme.png", b"two\nlines\x1b[31m.png", "gr\u00fcn \u6f22.png".encode()):
        os.rename(save(colours(4, 5), tmp_path / "x.png"), os.path.join(os.fsencode(tmp_path), name))
    for locale in ("C.UTF-8", "en_US.ISO-8859-1"):
        result = run("encode", "-n", "-r", tmp_path, env={"LC_ALL": locale, "PYTHONUTF8": "0"})
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 3
        assert b"na\\xffme.png -> " in result.stdout
        assert b"two\\nlines\\x1b[31m.vdm: 5x4" in result.stdout


def test_a_file_of_an_odd_name_comes_back(vdmc, library, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xfe\n.png")
    save(colours(4, 5), odd)
    assert vdmc("encode", odd, "--json").exit_code == 0
    odd.unlink()
    assert vdmc("decode", "-r", tmp_path, "-q").exit_code == 0
    assert np.array_equal(load(odd), colours(4, 5))


def test_printable_keeps_what_can_be_shown():
    assert printable("gr\u00fcn \u6f22 a.png") == "gr\u00fcn \u6f22 a.png"
    assert printable("a\udcff\t\x9b\u202e") == "a\\xff\\t\\x9b\\u202e"


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_without_a_terminal_or_any_standard_stream(tmp_path, closed):
    coded = tmp_path / "a.vdm"
    coded.write_bytes(png_file(colours(4, 5)))

    def close() -> None:
        for handle in closed:
            os.close(handle)

    result = run("decode", coded, before=close)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(load(tmp_path / "a.png"), colours(4, 5))
    if closed == (1,):
        refused = run("decode", coded, "-c", before=close)
        assert refused.returncode == 2
        assert b"standard output is closed" in refused.stderr


def test_a_reader_that_goes_away_stops_no_work(tmp_path):
    coded = [tmp_path / f"{i}.vdm" for i in range(3)]
    for path in coded:
        path.write_bytes(png_file(colours(4, 5)))
    reader, writer = os.pipe()
    os.close(reader)
    code = "from cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "decode", *map(str, coded)],
        stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"Broken pipe" not in result.stderr
    assert all(path.with_suffix(".png").exists() for path in coded)
    gone = subprocess.run(
        [sys.executable, "-c", code, "decode", "-c", str(coded[0])],
        stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=120,
    )  # fmt: skip
    os.close(writer)
    assert gone.returncode == 1
    assert gone.stderr.decode().splitlines() == [f"vdmc: {coded[0]}: Broken pipe"]


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    (tmp_path / "a.vdm").write_bytes(png_file(pixels))
    (tmp_path / "a.png").write_bytes(b"precious")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    result = run("decode", "-f", tmp_path / "a.vdm", before=small_files)
    assert result.returncode == 1
    (line,) = result.stderr.decode().splitlines()
    assert f"output {tmp_path / 'a.png'} cannot be written: File too large" in line
    assert (tmp_path / "a.png").read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.vdm"]


PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1


def without_override() -> None:
    """Let permissions hold for root too, from the next program on."""
    if os.getuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError("permissions cannot be made to hold for root here")


@pytest.fixture
def forbidden(tmp_path):
    """A compressed file in a folder that must not be written to."""
    try:
        subprocess.run(["true"], preexec_fn=without_override, check=True)
    except subprocess.SubprocessError:
        pytest.skip("run by root, whom no permission stops here")
    folder = tmp_path / "forbidden"
    folder.mkdir()
    (folder / "a.vdm").write_bytes(png_file(colours(4, 5)))
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_a_read_only_folder_and_a_read_only_home(forbidden):
    home = {"HOME": str(forbidden), "NUMBA_CACHE_DIR": str(forbidden / "cache"), "XDG_CACHE_HOME": ""}
    result = run("decode", forbidden / "a.vdm", before=without_override, env=home)
    assert result.returncode == 2
    (line,) = result.stderr.decode().splitlines()
    assert f"folder {forbidden} of output a.png cannot be written to" in line
    assert run("decode", "-c", forbidden / "a.vdm", before=without_override, env=home).returncode == 0
    missing = run("decode", forbidden / "a.vdm", "-O", forbidden / "new", before=without_override, env=home)
    assert missing.returncode == 2
    assert b"cannot be written to" in missing.stderr


def test_two_runs_into_one_folder_make_whole_files_and_say_who_lost(tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.vdm").write_bytes(png_file(colours(4, 4 + i)))
    code = "from cli.main import main; main()"
    command = [sys.executable, "-c", code, "decode", "-r", str(tmp_path), "-O", str(tmp_path / "out")]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    done = 0
    for process in both:
        out, err = process.communicate(timeout=120)
        done += len(out.splitlines())
        assert process.returncode in (0, 1)
        assert all(
            "exists" in line or "appeared" in line or "failed" in line for line in err.splitlines()[:-1]
        )
    assert done == 20
    assert len(os.listdir(tmp_path / "out")) == 20
    assert all(np.array_equal(load(tmp_path / "out" / f"{i}.png"), colours(4, 4 + i)) for i in range(20))
