"""Phases of training as runs: exact resuming, what each writes, wrong starts, the command."""

import json

import pytest
import torch

from tests import phase_support
from tests.phase_support import CONFIG, phase
from vdmcompress.errors import UsageError
from vdmcompress.model_file import read_model
from vdmcompress.train import phases
from vdmcompress.train.config import load_config

folder = phase_support.folder


def flattened(state, prefix=""):
    """All tensors and numbers of nested dictionaries and lists, by path."""
    for key, value in state.items() if isinstance(state, dict) else enumerate(state):
        if isinstance(value, (dict, list, tuple)):
            yield from flattened(value, f"{prefix}/{key}")
        else:
            yield f"{prefix}/{key}", value


def assert_same_state(one, other):
    a, b = dict(flattened(one)), dict(flattened(other))
    assert a.keys() == b.keys()
    for name in a.keys() - {"/seconds"}:
        same = torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]
        assert same, name


@pytest.mark.parametrize("name", ["belief", "experts", "rounding"])
def test_a_phase_goes_on_exactly(name, folder, tmp_path):
    """Killed after its first checkpoint, a phase ends with the same weights as without."""

    class Killed(Exception):
        pass

    whole, entries = phase(name, folder, tmp_path / "whole"), []

    def kill(entry):
        entries.append(entry)
        if entry["step"] == 6:
            raise Killed

    with pytest.raises(Killed):
        phase(name, folder, tmp_path / "part", report=kill)
    assert torch.load(tmp_path / "part" / f"{name}.pt", weights_only=True)["step"] == 3
    assert_same_state(phase(name, folder, tmp_path / "part", resume=True), whole)
    assert whole["step"] == 6
    start = torch.load(folder / "direct" / "last.pt", weights_only=True)["ema"]
    for key, value in whole["model"].items():
        assert key not in start or not torch.equal(value, start[key]), key
    with pytest.raises(UsageError, match=rf"{name}\.pt exists; continue it with --resume"):
        phase(name, folder, tmp_path / "whole")
    lines = [json.loads(x) for x in (tmp_path / "whole" / f"{name}.jsonl").read_text().splitlines()]
    assert [e["step"] for e in lines if "norm" in e] == [6]
    checks = {e["validation"] for e in lines if "validation" in e and e["step"] == 6}
    floats = {"held_back_float", "held_back_wild_float"} if name == "rounding" else set()
    assert checks == {"held_back", "held_back_wild"} | floats


def test_the_pipeline_ends_with_models_that_load(folder, tmp_path):
    """Direct, experts, rounding of the experts, export: each writes a sound model file."""
    phase("experts", folder, tmp_path)
    made = read_model(tmp_path / "few.vdm.safetensors")
    assert made.tensors["b"].shape == (4, 2, 8, 8, 3, 3)
    phase("rounding", folder, tmp_path, start=tmp_path / "experts.pt")
    rounded = read_model(tmp_path / "few.vdm.safetensors")
    assert rounded.tensors["b"].shape == (4, 2, 8, 8, 3, 3)
    assert rounded.hash8 != made.hash8
    again = phases.export_checkpoint(folder / "few.toml", tmp_path, tmp_path / "rounding.pt")
    assert again.hash8 == rounded.hash8
    shared = phases.export_checkpoint(folder / "few.toml", folder / "direct")
    assert shared.tensors["b"].shape == (1, 2, 8, 8, 3, 3)


def test_wrong_starts_are_named(folder, tmp_path):
    with pytest.raises(UsageError, match=r"last\.pt is not there; train the phase before"):
        phase("rounding", folder, tmp_path / "a", start=None)
    phase("belief", folder, tmp_path)
    with pytest.raises(UsageError, match="in belief form; give a checkpoint of the direct form"):
        phase("experts", folder, tmp_path / "b", start=tmp_path / "belief.pt")
    with pytest.raises(UsageError, match="is not in belief form"):
        phase("grid", folder, tmp_path / "c")
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.replace("blocks = 2", "blocks = 1"))
    with pytest.raises(UsageError, match="has another graph"):
        phases.export_checkpoint(other, tmp_path, folder / "direct" / "last.pt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("sigma_low = 60.0", "sigma 60.0 to 48.0"),
        ("most = 9", "most 9, allowed are 1 to 8 with 7 levels"),
        ("evaluations = [4, 1]", r"evaluations \(4, 1\)"),
        ("level = 1", r"\[belief\]: unknown key 'level'"),
    ],
)
def test_wrong_belief_tables_are_refused(tmp_path, change, why):
    path = tmp_path / "few.toml"
    key = change.split()[0]
    kept = [line for line in CONFIG.splitlines() if not line.startswith(key)]
    path.write_text("\n".join(kept).replace("[belief]", f"[belief]\n{change}"))
    with pytest.raises(UsageError, match=why):
        load_config(path)


def test_the_command_runs_phases(vdmc, folder, tmp_path, monkeypatch):
    calls = []

    for name in phases.PHASES:

        def run(config_path, job, name=name):
            job.report({"text": "a line"})
            calls.append((name, job.data_dirs, job.start))

        monkeypatch.setitem(phases.PHASES, name, run)
    common = [folder / "few.toml", "--out", tmp_path / "x", "--device", "cpu"]
    start = folder / "direct" / "last.pt"
    others = [name for name in phases.PHASES if name != "grid"]
    for name in others:
        result = vdmc("train", *common, "--phase", name, "--data", folder / "images", "--from", start)
        assert result.exit_code == 0, result.stderr
        assert "a line" in result.stdout
    result = vdmc("train", *common, "--phase", "grid", "--valid", folder / "images")
    assert result.exit_code == 0, result.stderr
    images = (folder / "images",)
    assert calls == [(name, images, start) for name in others] + [("grid", (), None)]
    assert vdmc("train", *common).exit_code == 2
    assert vdmc("train", *common, "--phase", "grid").exit_code == 2
    assert vdmc("train", *common, "--phase", "sleep", "--data", folder / "images").exit_code == 2


def test_the_command_exports_a_checkpoint(vdmc, folder, tmp_path):
    start = folder / "direct" / "last.pt"
    out = tmp_path / "not there"
    result = vdmc("train", folder / "few.toml", "--out", out, "--export-only", "--from", start)
    assert result.exit_code == 0, result.stderr
    made = read_model(out / "few.vdm.safetensors")
    assert result.stdout.split() == ["few", made.hash8.hex()]
    assert made.hash8 == read_model(folder / "direct" / "few.vdm.safetensors").hash8


def test_a_belief_run_is_told_by_band(vdmc, folder, tmp_path):
    result = vdmc(
        "train", folder / "few.toml", "--out", tmp_path, "--phase", "belief",
        "--data", folder / "images", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "step 6/6" in result.stderr
    assert "0 LH" in result.stderr
    assert "held_back" in result.stdout
