"""Training runs: exact resuming, an unbiased sampler, the weighted loss, the log, what is left at the end."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import model_support
from tests.model_support import FEW_STEPS, synthetic
from vdmcompress.errors import UsageError
from vdmcompress.model_file import read_model
from vdmcompress.network import Denoiser
from vdmcompress.train import run
from vdmcompress.train.config import TrainConfig, load_config
from vdmcompress.train.data import stack_batch
from vdmcompress.train.export import load_float, mixture16
from vdmcompress.train.objective import batch_loss, step_input
from vdmcompress.train.trainer import UNIFORM, rate_scale


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four synthetic images and the configuration."""
    path = tmp_path_factory.mktemp("train")
    (path / "images").mkdir()
    for i in range(4):
        Image.fromarray(synthetic(i)).save(path / "images" / f"{i}.png")
    (path / "few.toml").write_text(FEW_STEPS)
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder, out, **more):
    run.train_direct(folder / "few.toml", run.Job((folder / "images",), out, device="cpu", **more))
    return torch.load(out / "last.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """An uninterrupted run: its folder, its last checkpoint and what it reported."""
    out, entries = tmp_path_factory.mktemp("whole"), []
    return out, train(folder, out, report=entries.append), entries


def flattened(state, prefix=""):
    """All tensors and numbers of nested dictionaries and lists, by path."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in items:
        name = f"{prefix}/{key}"
        if isinstance(value, (dict, list, tuple)):
            yield from flattened(value, name)
        else:
            yield name, value


def assert_same_state(one, other):
    a, b = dict(flattened(one)), dict(flattened(other))
    assert a.keys() == b.keys()
    for name in a.keys() - {"/seconds"}:
        same = torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]
        assert same, name


class Killed(Exception):
    """The process ends in the middle of a run."""


def test_a_killed_run_goes_on_exactly(folder, whole, tmp_path):
    """Killed after step 4, it goes on from the checkpoint of step 3 and ends with the very same weights."""

    def kill(entry):
        if entry["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        train(folder, tmp_path, report=kill)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3
    assert_same_state(train(folder, tmp_path, resume=True), whole[1])


def test_a_stopped_run_goes_on_exactly(folder, whole, tmp_path, monkeypatch):
    """Stopped by the clock between two checkpoints; the last step is saved all the same."""
    seconds = iter(range(10**6))
    with monkeypatch.context() as patch:
        patch.setattr(run.time, "monotonic", lambda: float(next(seconds)))
        stopped = train(folder, tmp_path, minutes=0.3)
    assert 0 < stopped["step"] < 7
    assert stopped["step"] % 3 != 0
    assert_same_state(train(folder, tmp_path, resume=True), whole[1])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in lines if "norm" in e] == [stopped["step"], 7]


def test_a_finished_run_has_nothing_left_to_do(folder, whole, tmp_path):
    for name in ("last.pt", "log.jsonl"):
        (tmp_path / name).write_bytes((whole[0] / name).read_bytes())
    assert_same_state(train(folder, tmp_path, resume=True), whole[1])
    assert (tmp_path / "few.vdm.safetensors").read_bytes() == (whole[0] / "few.vdm.safetensors").read_bytes()


def test_a_run_is_not_overwritten(folder, whole):
    with pytest.raises(UsageError, match=r"last\.pt exists; continue it with --resume"):
        train(folder, whole[0])


def test_training_moves_every_parameter_and_the_average_follows(folder, whole):
    fresh = Denoiser(load_config(folder / "few.toml").network).state_dict()
    model, average = whole[1]["model"], whole[1]["ema"]
    for name, start in fresh.items():
        assert not torch.equal(model[name], start), name
        assert not torch.equal(average[name], model[name]), name


def test_the_run_ends_with_a_model_of_the_average(folder, whole):
    out, state, _ = whole
    model = read_model(out / "few.vdm.safetensors")
    assert model.name == "few"
    parent = load_float(out / "last.pt", Denoiser(load_config(folder / "few.toml").network))
    for name, value in parent.state_dict().items():
        assert torch.equal(value, state["ema"][name])
    np.testing.assert_array_equal(mixture16(parent.mixture), model.tensors["mixture"])


STEP_KEYS = {
    "step", "steps", "seconds", "mpx_per_second", "eta_seconds", "bpd", "norm", "rate", "terms",
}  # fmt: skip


def test_the_log_has_the_promised_keys(whole):
    out, _, reported = whole
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert entries == json.loads(json.dumps(reported))
    steps = [e for e in entries if "validation" not in e]
    assert [e["step"] for e in steps] == [7]  # every tenth, and the last
    for entry in steps:
        assert entry.keys() == STEP_KEYS
        assert all(math.isfinite(entry[k]) for k in STEP_KEYS - {"terms"})
    checks = [e for e in entries if "validation" in e]
    assert [(e["step"], e["validation"]) for e in checks] == [
        (s, name) for s in (2, 4, 6, 7) for name in ("held_back", "held_back_wild")
    ]
    slots = [f"s{scale}.{slot}" for scale in (0, 1) for slot in range(6)]
    for entry in checks:
        assert entry.keys() == {"step", "validation", "bpd", "terms"}
        assert set(slots) <= entry["terms"].keys()
        shares = sum(v * 4.0 ** -(int(k[1]) + 1) for k, v in entry["terms"].items() if k in slots)
        assert entry["bpd"] == pytest.approx(shares, abs=1e-3)


@pytest.mark.parametrize(
    ("old", "new"), [("held_back = 1", "held_back = 0"), ("valid_crop = 32", "valid_crop = 900")]
)
def test_without_images_to_validate_on_no_validation_is_logged(folder, tmp_path, old, new):
    """A mean of no images is no 0.0 bpd."""
    assert old in FEW_STEPS
    (tmp_path / "few.toml").write_text(FEW_STEPS.replace(old, new))
    run.train_direct(tmp_path / "few.toml", run.Job((folder / "images",), tmp_path / "run", device="cpu"))
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries] == [7]
    assert "validation" not in entries[0]
    assert (tmp_path / "run" / "few.vdm.safetensors").exists()


def test_checkpoints_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    run.save_atomic({"step": 1}, path)

    def half(state, name):
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(run.torch, "save", half)
        with pytest.raises(OSError, match="disk full"):
            run.save_atomic({"step": 2}, path)
    assert torch.load(path)["step"] == 1
    run.save_atomic({"step": 3}, path)
    assert torch.load(path)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_rates_warm_up_stay_and_fall():
    config = TrainConfig(steps=1000, warmup=10, decay=0.2)
    rates = [rate_scale(step, config) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:801]) == {1.0}
    assert rates[900] == pytest.approx(0.5)
    assert rates[1000] == 0.02
    assert all(a >= b for a, b in zip(rates[800:], rates[801:], strict=False))


class Spy:
    """Stands for `batch_loss`: keeps the drawn slots and weights, tells a loss of its own for each slot."""

    def __init__(self, losses):
        self.losses, self.slots, self.weights, self.scales = losses, [], [], []

    def __call__(self, model, batch, slots, weights, *rest, **more):
        assert slots == sorted(slots)
        self.slots.append(slots)
        self.weights.append(weights)
        self.scales.append(batch.scale)
        return {s: (self.losses[batch.scale][s], None) for s in set(slots)}


def test_the_sampler_is_unbiased(folder, monkeypatch):
    """Importance-weighted expectations equal the plain mean over slots, and scales count as in the bound."""
    config = load_config(folder / "few.toml")
    losses = np.array([[4.0, 0.5, 0.01, 2.0, 1.0, 3.0], [1.0, 5.0, 0.1, 0.3, 0.2, 0.9]])
    spy = Spy(losses)
    monkeypatch.setattr(run, "batch_loss", spy)
    trainer = run.Trainer(config, torch.device("cpu"))
    crop = np.zeros((16, 16, 3), np.uint8)
    made = [stack_batch([crop] * 16, scale) for scale in (0, 1)]
    chances, drawn = [], []
    for i in range(400):
        chances.append(trainer.sampler.chances(i % 2).copy())
        drawn.append(np.bincount(trainer_slots(trainer, spy, made[i % 2]), minlength=6) / 16)
    for scale, share in ((0, 0.75 / 0.7), (1, 0.25 / 0.3)):
        picked = [i for i, s in enumerate(spy.scales) if s == scale]
        expected = []
        for i in picked:
            weight = np.full(6, np.nan)
            weight[spy.slots[i]] = spy.weights[i]
            seen = ~np.isnan(weight)
            np.testing.assert_allclose(weight[seen] * chances[i][seen], share / 6)
            expected.append(
                np.mean([w * losses[scale][s] for s, w in zip(spy.slots[i], spy.weights[i], strict=True)])
            )
        error = np.std(expected) / math.sqrt(len(expected))
        assert abs(np.mean(expected) - share * losses[scale].mean()) < 5 * error
        often = np.mean([drawn[i] for i in picked], 0) - np.mean([chances[i] for i in picked], 0)
        assert np.abs(often).max() < 5 * 0.5 / math.sqrt(16 * len(picked))
    # slots that cost more are drawn more often, none less than its share of the uniform draw
    last = trainer.sampler.chances(0)
    assert last[0] == last.max() > 1.5 / 6
    assert last.min() >= UNIFORM / 6
    assert last.sum() == pytest.approx(1)


def trainer_slots(trainer, spy, batch):
    trainer.train_step(batch)
    return spy.slots[-1]


def test_the_loss_is_weighted_by_sample_and_its_gradient_follows():
    """Twice the weights, twice the gradient; the value that is reported is the plain mean."""
    config = model_support.tiny_config()
    batch = stack_batch([synthetic(i)[:32, :32] for i in range(3)], 0)
    met = []
    for weights in ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 0.0]):
        model = Denoiser(config.network)
        generator = torch.Generator().manual_seed(5)
        terms = batch_loss(model, batch, [0, 0, 4], weights, 0.1, generator, backward=True)
        met.append((terms, model.head_bias.grad[0].clone(), model.head_bias.grad[4].clone()))
    (one, first, second), (two, first2, second2), (_, first3, second3) = met
    assert one == two
    assert one[0][1] is None
    assert one[4][1] > 0
    torch.testing.assert_close(first2, 2 * first)
    torch.testing.assert_close(second2, 2 * second)
    torch.testing.assert_close(first3, first)
    assert not second3.any()
    assert first.abs().max() > 0
    assert second.abs().max() > 0


def test_blocks_in_bfloat16_have_nearly_the_same_loss_and_gradient():
    """Dtypes of parameters and gradients stay float32; the linear predictor never rounds its integers."""
    batch = stack_batch([synthetic(i)[:64, :64] for i in range(2)], 0)
    met = []
    for body in (torch.float32, torch.bfloat16):
        model = model_support.load_tiny_float().requires_grad_(True)
        generator = torch.Generator().manual_seed(5)
        terms = batch_loss(model, batch, [0, 2], [1.0, 1.0], 0.1, generator, backward=True, body=body)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert gradient.dtype == torch.float32
        met.append((terms, gradient))
    (exact, gradient), (near, rounded) = met
    assert near != exact
    for slot in (0, 2):
        assert float(near[slot][0]) == pytest.approx(float(exact[slot][0]), rel=0.01)
    assert float(torch.cosine_similarity(gradient, rounded, dim=0)) > 0.99
    assert TrainConfig(bfloat16=True).body == torch.bfloat16


def test_what_the_network_sees_at_a_step():
    path = model_support.tiny_config().network.path
    bands = tuple(torch.full((1, 3, 4, 4), v, dtype=torch.int32) for v in (100, 3, 5, 7))
    for step in path.steps:
        generator = torch.Generator().manual_seed(step.slot)
        got = step_input(bands, step, path.band(0, step.band), 3, generator)
        assert got.d.unique().tolist() == [(3, 5, 7)[step.band]]
        hl, lh = got.raw[:, 6:9], got.raw[:, 9:12]
        if step.top:
            assert not got.z_k.any()
        else:
            assert (got.z_k % path.band(0, step.band).delta(step.k) == 0).all()
            assert torch.equal((hl, lh)[step.band], got.z_k)
        if step.band == 0:
            assert not lh.any()
            assert hl.any() == (not step.top)
        else:
            assert hl.unique().tolist() == [3]
        if step.band == 1 and step.top:
            assert not lh.any()
        if step.band == 2:
            assert lh.unique().tolist() == [5]
        assert got.raw[:, 12:].unique().tolist() == [100]
        assert not got.raw[:, :6].any()  # a flat LL
        grey = step_input(bands, step, path.band(0, step.band), 1, generator)
        assert not grey.z_k[:, 1:].any()
