"""Shell completion: what click's scripts get from the program, and that the shells take them."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SOURCE = 'eval "$(_VDMC_COMPLETE={shell}_source vdmc)"\n'


@pytest.fixture
def environment(tmp_path):
    """Variables with which a shell finds `vdmc`."""
    program = tmp_path / "bin" / "vdmc"
    program.parent.mkdir()
    code = "from cli.main import main; main()"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def run(command, environment) -> str:
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    ("shell", "words", "at", "expected"),
    [
        ("bash", "vdmc enc", 1, ["plain,encode"]),
        ("bash", "vdmc decode --format p", 3, ["plain,png", "plain,ppm"]),
        ("bash", "vdmc encode --skip", 2, ["plain,--skip-existing"]),
        ("bash", "vdmc encode pho", 2, ["file,pho"]),
        ("zsh", "vdmc enc", 1, ["plain", "encode", "Compress images, losslessly."]),
        ("zsh", "vdmc encode -O o", 3, ["dir", "o", "_"]),
    ],
)
def test_what_the_program_answers(environment, shell, words, at, expected):
    asked = {"_VDMC_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    assert run(["vdmc"], environment | asked).splitlines() == expected


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("vdmc ver", ["verify"]),
        ("vdmc encode --device c", ["cpu", "cuda"]),
        ("vdmc decode --rec", ["--recursive"]),
    ],
)
def test_bash_completes(environment, words, replies):
    script = SOURCE.format(shell="bash") + (
        f"complete -p vdmc >/dev/null || exit 1\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}\n"
        '_vdmc_completion vdmc "${COMP_WORDS[COMP_CWORD]}"\n'
        "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    assert run(["bash", "--norc", "-c", script], environment).splitlines() == replies


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not here")
def test_zsh_completes(environment):
    script = (
        "autoload -Uz compinit && compinit -D -u\n"
        + SOURCE.format(shell="zsh")
        + "print -r -- $_comps[vdmc]\n"
        "_describe() { print -r -- ${(P)3} }\n"
        "compadd() { print -r -- $@[-1] }\n"
        "words=(vdmc ver); CURRENT=2; _vdmc_completion\n"
    )
    shown = run(["zsh", "-f", "-c", script], environment)
    assert "_vdmc_completion" in shown
    assert "verify" in shown
