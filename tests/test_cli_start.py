"""Starting: what is imported for help and information, versions, signals."""

import json
import subprocess
import sys

import pytest

from cli.main import cli
from cli.train import follow
from tests.cli_support import colours, png_file

HEAVY = ("torch", "numba", "llvmlite", "rich.progress")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["encode", "--help"],
        ["decode", "--help"],
        ["train", "--help"],
        ["bench", "--help"],
        ["compare", "--help"],
        ["report", "--help"],
        ["lab"],
        ["lab", "--help"],
        ["info", "FILE"],
    ],
)
def test_help_and_info_import_nothing_heavy(tmp_path, arguments):
    coded = tmp_path / "a.vdm"
    coded.write_bytes(png_file(colours(4, 4)))
    code = (
        "import sys\n"
        "from cli.main import cli\n"
        "try:\n"
        "    cli.main(sys.argv[1:], prog_name='vdmc')\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        f"print('heavy', sorted(set(sys.modules) & set({HEAVY!r})), code)\n"
    )
    result = run(code, *(str(coded) if a == "FILE" else a for a in arguments))
    assert result.stdout.splitlines()[-1] == "heavy [] 0", result.stdout + result.stderr


def test_help_names_every_command_and_exit_code(vdmc):
    text = vdmc("--help").stdout
    for command in (
        "encode",
        "decode",
        "info",
        "verify",
        "eval",
        "compare",
        "bench",
        "report",
        "selftest",
        "models",
        "train",
        "lab",
        "archive",
    ):
        assert f"\n  {command} " in text
    for code in ("0 all done", "3 damaged", "4 model", "5 limit", "6 this machine", "130 interrupted"):
        assert code in " ".join(text.split())


def test_version_names_what_computes(vdmc):
    text = vdmc("--version").stdout
    for name in ("vdmc ", "Python ", "numpy ", "torch "):
        assert name in text


def test_a_terminated_process_leaves_as_from_an_exception():
    code = (
        "import signal, sys, time\n"
        "from cli import main\n"
        "def body():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned', flush=True)\n"
        "main.cli.main = lambda prog_name: body()\n"
        "main.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert out == "cleaned\n"
    assert process.returncode == 143


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_can_speak_json(name):
    assert any("--json" in option.opts for option in cli.commands[name].params)


def test_training_speaks_json(capsys):
    take = follow(None, (), (), as_json=True)
    take({"text": "levels"})
    take({"step": 1, "terms": {"s0.0": 1.5}})
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "levels"}, {"step": 1, "terms": {"s0.0": 1.5}}]
