"""Exit codes and error lines, the same for every command."""

import json

import pytest

from cli.report import Report, exit_code
from tests.cli_support import colours, save
from vdmcompress import errors

CODES = {
    errors.VdmError: 1,
    errors.UsageError: 2,
    errors.UnsupportedImageError: 2,
    errors.DamagedFileError: 3,
    errors.ShortStackError: 3,
    errors.StackFormatError: 3,
    errors.ModelMissingError: 4,
    errors.LimitError: 5,
    errors.MachineError: 6,
    MemoryError: 5,
    FileNotFoundError: 2,
    PermissionError: 2,
    OSError: 1,
    ZeroDivisionError: 1,
}


@pytest.mark.parametrize(("error", "code"), CODES.items())
def test_a_single_file_gives_its_own_code(vdmc, library, picture, error, code):
    library.error = error("what went wrong")
    result = vdmc("encode", "-q", picture)
    assert result.exit_code == code
    assert exit_code(library.error) == code
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"vdmc: {picture}: ")
    assert "Traceback" not in result.output
    assert not picture.with_suffix(".vdm").exists()


def test_some_of_several_is_1_and_the_others_are_done(vdmc, library, picture, tmp_path):
    missing = tmp_path / "missing.png"
    last = save(colours(5, 5), tmp_path / "last.png")
    result = vdmc("encode", picture, missing, last)
    assert result.exit_code == 1
    assert picture.with_suffix(".vdm").exists()
    assert last.with_suffix(".vdm").exists()
    assert "missing.png" in result.stderr
    assert "2 encoded, 1 failed" in result.stderr


def test_failures_are_records_too(vdmc, library, picture, tmp_path):
    result = vdmc("encode", "--json", picture, tmp_path / "missing.png")
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert good["status"] == "ok"
    assert (bad["status"], bad["exit_code"]) == ("error", 2)
    assert bad["error"]


def test_interruption_is_130(vdmc, library, picture):
    library.error = KeyboardInterrupt()
    result = vdmc("encode", picture)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "Traceback" not in result.output
    assert not picture.with_suffix(".vdm").exists()


def test_internal_errors_show_their_place_with_v_only(vdmc, library, picture):
    library.error = ZeroDivisionError("inside")
    assert "Traceback" not in vdmc("encode", picture).stderr
    shown = vdmc("encode", "-v", picture).stderr
    assert "Traceback" in shown
    assert "ZeroDivisionError: inside" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "--no-such-option", "x"],
        ["no-such-command"],
        ["decode", "x.vdm", "--scale", "1/3"],
        ["decode", "x.vdm", "--format", "jpeg"],
        ["encode", "x.png", "-T", "-1"],
        ["encode", "no-such-file.png"],
        ["decode", "no-such-file.vdm"],
        ["info", "no-such-file.vdm"],
        ["verify", "no-such-file.vdm"],
        ["train", "no-such-configuration", "--data", ".", "--out", "x"],
    ],
)
def test_usage_is_2(vdmc, library, arguments):
    result = vdmc(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert result.stderr


def test_all_of_several_failing_is_1():
    report = Report(2)
    for _ in range(2):
        with report.file("x"):
            raise errors.DamagedFileError("damaged")
    assert report.exit_code == 1


def test_messages_are_one_line(vdmc, library, picture):
    library.error = errors.LimitError("first\n  second")
    assert vdmc("encode", "-q", picture).stderr == f"vdmc: {picture}: first second\n"
