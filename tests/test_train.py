"""Training: exact resuming, an unbiased sampler, optimisers, data, configuration, log and export."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import model_support
from vdmcompress.errors import ModelMissingError, UsageError
from vdmcompress.exact import SUM_LIMIT, WEIGHT_LIMIT
from vdmcompress.model_file import read_model
from vdmcompress.network import Denoiser
from vdmcompress.train import run
from vdmcompress.train.augment import augment, grain, halve_chroma, sharpen
from vdmcompress.train.config import TrainConfig, load_config
from vdmcompress.train.data import batches, load_images, random_crop, split, stack_batch
from vdmcompress.train.export import export, load_float, mixture16, quantise
from vdmcompress.train.objective import batch_loss, step_input
from vdmcompress.train.optimiser import Muon, make_optimisers, orthogonalise, set_rates
from vdmcompress.train.validate import ValidationSet, bits_table
from vdmcompress.transform import forward_colour, haar_forward

CONFIG = """
name = "few"
[network]
width = 8
blocks = 1
scales = 2
path = [[[[0, 32], [3, 33]], [[1, 35]], []]]
[train]
steps = 7
batch = 3
crop = 8
scales = [0.7, 0.3]
warmup = 2
grey = 0.3
held_back = 1
validate_every = 2
save_every = 3
valid_crop = 32
"""


def synthetic(index, height=136, width=150):
    """A smooth colour image with some noise, another for each index."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + index + c) + c) * 60 + np.cos(y / (9 + c)) * 40 + 120 for c in range(3)]
    return np.clip(np.stack(waves, 2) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four synthetic images and the configuration."""
    path = tmp_path_factory.mktemp("train")
    (path / "images").mkdir()
    for i in range(4):
        Image.fromarray(synthetic(i)).save(path / "images" / f"{i}.png")
    (path / "few.toml").write_text(CONFIG)
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder, out, **more):
    run.main(folder / "few.toml", [folder / "images"], out, device="cpu", **more)
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
    rates = [run.rate_scale(step, config) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:801]) == {1.0}
    assert rates[900] == pytest.approx(0.5)
    assert rates[1000] == 0.02
    assert all(a >= b for a, b in zip(rates[800:], rates[801:], strict=False))


class Spy:
    """Stands for `batch_loss`: keeps the drawn slots and weights, and tells a loss of its own for each slot."""

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
            expected.append(np.mean([w * losses[scale][s] for s, w in zip(spy.slots[i], spy.weights[i], strict=True)]))
        error = np.std(expected) / math.sqrt(len(expected))
        assert abs(np.mean(expected) - share * losses[scale].mean()) < 5 * error
        often = np.mean([drawn[i] for i in picked], 0) - np.mean([chances[i] for i in picked], 0)
        assert np.abs(often).max() < 5 * 0.5 / math.sqrt(16 * len(picked))
    # slots that cost more are drawn more often, none less than half as often as all alike
    last = trainer.sampler.chances(0)
    assert last[0] == last.max() > 1.5 / 6
    assert last.min() >= 0.5 / 6
    assert last.sum() == pytest.approx(1)


def trainer_slots(trainer, spy, batch):
    trainer.train_step(batch)
    return spy.slots[-1]


def test_shares_of_the_scales_are_those_of_the_bound():
    """Scale s holds 3/4 4**-s of the values; the last one stands for all that follow."""
    config = model_support.tiny_config()
    scales = (0.5, 0.3, 0.2)
    shares = [0.75 * 4.0**-s if s < len(scales) - 1 else 4.0**-s for s in range(len(scales))]
    assert sum(shares) == 1
    assert config.train.scales == (0.6, 0.4)
    assert len(TrainConfig().scales) == 4
    assert sum(TrainConfig().scales) == pytest.approx(1)


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


def test_what_the_network_sees_at_a_step():
    path = model_support.tiny_config().network.path
    bands = tuple(torch.full((1, 3, 4, 4), v, dtype=torch.int32) for v in (100, 3, 5, 7))
    for step in path.steps:
        generator = torch.Generator().manual_seed(step.slot)
        got = step_input(bands, step, path.band(0, step.band), 3, generator)
        assert got.d.unique().tolist() == [(3, 5, 7)[step.band]]
        hl, lh = got.raw[:, 3:6], got.raw[:, 6:9]
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
        assert got.raw[:, 9:].unique().tolist() == [100]
        grey = step_input(bands, step, path.band(0, step.band), 1, generator)
        assert not grey.z_k[:, 1:].any()


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8), (64, 576), (1, 9)])
def test_orthogonalise_gives_nearly_orthogonal_matrices(shape):
    """Singular values near 1 (Muon's quintic leaves 0.7 to 1.2), singular vectors kept."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 37
    out = orthogonalise(matrix)
    assert out.shape == matrix.shape
    values = torch.linalg.svdvals(out)
    assert values.max() < 1.25
    assert (values > 0.6).float().mean() >= 0.9
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    alignment = torch.diagonal(u.T @ out @ v.T)
    torch.testing.assert_close(alignment.sort().values, values.sort().values, atol=2e-3, rtol=0)


def test_orthogonalise_survives_zero():
    assert not orthogonalise(torch.zeros(4, 6)).any()


def test_muon_moves_all_directions_by_the_rate_and_decays():
    p = torch.nn.Parameter(torch.ones(8, 8, 3, 3))
    optimiser = Muon([p], lr=0.1, momentum=0.95, weight_decay=0.5)
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 1e-3
    optimiser.step()
    moved = (p.detach() - (1 - 0.1 * 0.5)).flatten(1)
    values = torch.linalg.svdvals(moved) / 0.1
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.25
    p.grad = None
    before = p.detach().clone()
    optimiser.step()
    assert torch.equal(p, before)


def test_every_parameter_has_one_optimiser():
    model = Denoiser(model_support.tiny_config().network)
    muon, adam = optimisers = make_optimisers(model, 0.02, 0.002, 0.5)
    groups = [p for o in optimisers for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, groups)) == sorted(map(id, model.parameters()))
    assert {p.dim() for g in muon.param_groups for p in g["params"]} == {4}
    assert muon.param_groups[0]["weight_decay"] == 0.5
    set_rates(optimisers, 0.02, 0.002, 0.5)
    assert [g["lr"] for o in optimisers for g in o.param_groups] == pytest.approx([0.01, 0.001, 0.00025])


def test_batches_are_functions_of_seed_and_step():
    images = [synthetic(i) for i in range(3)]

    def take(start, count, seed=1):
        source = batches(images, 2, 8, (0.5, 0.5), 0.3, seed, start)
        return [next(source) for _ in range(count)]

    one, later = take(0, 6), take(4, 2)
    for a, b in zip(one[4:], later, strict=True):
        assert (a.scale, a.components) == (b.scale, b.components)
        for name in ("ll", "hl", "lh", "hh"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert {b.scale for b in one} == {0, 1}
    other = take(0, 6, seed=2)
    assert any(a.ll.shape != b.ll.shape or (a.ll != b.ll).any() for a, b in zip(one, other, strict=True))
    assert all(b.ll.shape == (2, 3, 8, 8) for b in one)
    grey = [b for b in take(0, 30) if b.components == 1]
    assert grey
    assert not any(x[:, 1:].any() for b in grey for x in (b.ll, b.hl, b.lh, b.hh))


def test_batches_hold_the_bands_of_their_crops():
    crop = synthetic(0)[:32, :32]
    batch = stack_batch([crop], 1)
    bands = haar_forward(haar_forward(forward_colour(crop)).ll)
    for name in ("ll", "hl", "lh", "hh"):
        np.testing.assert_array_equal(getattr(batch, name)[0], getattr(bands, name))


def test_crops_are_turned_before_the_transform():
    """All eight orientations occur, and about half of the crops keep their very pixels."""
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    turned = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    turned += [t.transpose(1, 0, 2) for t in turned]
    rng = np.random.default_rng(3)
    met = [random_crop(image, 4, rng) for _ in range(200)]
    hits = [sum(np.array_equal(m, t) for m in met) for t in turned]
    assert min(hits) > 2
    assert 80 < sum(hits) < 160


def test_held_back_images_are_not_trained_on():
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(20)]
    kept, back = split(images, 4)
    assert len(back) == 4
    numbers = [int(i[0, 0, 0]) for i in kept], [int(i[0, 0, 0]) for i in back]
    assert sorted(numbers[0] + numbers[1]) == list(range(20))
    assert max(numbers[1]) - min(numbers[1]) > 10
    assert split(images, 0) == (images, [])


def test_images_are_read_sorted_and_small_or_grey_ones_left_out(tmp_path):
    (tmp_path / "deeper").mkdir()
    Image.fromarray(synthetic(1)).save(tmp_path / "deeper" / "b.png")
    Image.fromarray(synthetic(0)).save(tmp_path / "a.webp", lossless=True, exact=True)
    Image.fromarray(synthetic(2)[:100]).save(tmp_path / "c.png")
    Image.fromarray(synthetic(2)[..., 0].copy()).save(tmp_path / "d.png")
    np.savez(tmp_path / "e.npz", two=synthetic(4), one=synthetic(3))
    (tmp_path / "notes.txt").write_text("no image")
    met = load_images([tmp_path])
    assert len(met) == 4
    for image, index in zip(met, (0, 1, 3, 4), strict=True):
        np.testing.assert_array_equal(image, synthetic(index))
    with pytest.raises(UsageError, match="no RGB images of 128 pixels"):
        load_images([tmp_path / "deeper" / "none"])


def test_augmentations_do_what_they_say():
    pixels, rng = synthetic(0), np.random.default_rng(2)
    y = pixels @ np.array([0.299, 0.587, 0.114])

    def detail(x):
        return float(np.abs(np.diff(x.astype(float), axis=1)).mean())

    for change in (halve_chroma, sharpen, grain):
        out = change(pixels, rng)
        assert (out.shape, out.dtype) == (pixels.shape, np.uint8)
        assert (out != pixels).any()
    halved = halve_chroma(pixels, rng)
    assert np.abs(halved @ np.array([0.299, 0.587, 0.114]) - y).mean() < 1.5
    assert detail(halved[..., 0].astype(int) - halved[..., 1]) < 0.8 * detail(pixels[..., 0].astype(int) - pixels[..., 1])
    assert detail(sharpen(pixels, rng)) > detail(pixels)
    strengths = [float((grain(pixels, rng).astype(float) - pixels).std()) for _ in range(30)]
    assert 0.3 < min(strengths) < 1.5 < max(strengths) < 6
    same = sum(augment(pixels, rng) is pixels for _ in range(100))
    assert 40 < same < 75


def test_validation_is_repeatable_and_the_wild_set_is_harder_to_know():
    images = [synthetic(i) for i in range(2)] + [synthetic(3)[:40]]
    clean, wild = ValidationSet.of(images, 64), ValidationSet.of(images, 64, wild=True)
    assert [c.shape for c in clean.crops] == [(64, 64, 3)] * 2  # the third is too small
    np.testing.assert_array_equal(clean.crops[0], images[0][36:100, 43:107])
    assert (wild.crops[0] != clean.crops[0]).any()
    np.testing.assert_array_equal(wild.crops[1], ValidationSet.of(images, 64, wild=True).crops[1])
    model = model_support.load_tiny_float()
    assert bits_table(model, clean, 2) == bits_table(model, clean, 2)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("batch = 3", "batch = 3\nlr = 1"), r"\[train\]: unknown key 'lr'; known are batch, crop"),
        (("blocks = 1", "blocks = 1\ndepth = 2"), "depth"),
        (("[train]", "[tain]"), "unknown key 'tain'"),
        (('name = "few"', 'nam = "few"'), "unknown key 'nam'"),
        (('name = "few"', ""), "name"),
        (("width = 8", "width = 4"), "width 4, allowed are 8 to 512"),
        (("blocks = 1", "blocks = 16"), "blocks 16, allowed are 1 to 15"),
        (("[0, 32]", "[9, 32]"), "levels outside"),
        (("[[1, 35]], []", "[[1, 35]], [[1, 35]]"), "HH"),
        (("steps = 7", "steps ="), r"few\.toml"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path, change, why):
    path = tmp_path / "few.toml"
    path.write_text(CONFIG)
    load_config(path)
    assert CONFIG.count(change[0]) == 1
    path.write_text(CONFIG.replace(*change))
    with pytest.raises(UsageError, match=why):
        load_config(path)


def test_shipped_configurations_are_read():
    folder = Path(run.__file__).parent.parent / "configs"
    assert [load_config(p).name for p in sorted(folder.glob("*.toml"))] == [p.stem for p in sorted(folder.glob("*.toml"))]
    with pytest.raises(UsageError, match="none"):
        load_config(folder / "none.toml")


def test_quantised_weights_are_near_and_use_their_range():
    rng = np.random.default_rng(6)
    weights = rng.normal(0, 1, (6, 8, 3, 3)) * np.array([0.02, 0.3, 1.0, 5.0, 30.0, 0.0]).reshape(6, 1, 1, 1)
    weights[4] = np.clip(weights[4], -63, 63)
    integers, exponents = quantise(weights)
    assert integers.dtype == exponents.dtype == np.int8
    assert np.abs(integers.astype(int)).max() <= WEIGHT_LIMIT
    step = 2.0 ** -exponents.astype(float).reshape(-1, 1, 1, 1)
    assert (np.abs(integers * step - weights) <= step / 2 + 1e-12).all()
    for i in range(4):
        assert np.abs(integers[i].astype(int)).max() > WEIGHT_LIMIT // 2
    assert not integers[5].any()
    with pytest.raises(ValueError, match="a weight of 64.0 is too large for 7 bits"):
        quantise(np.full((1, 1, 1, 1), 64.0))


def test_large_sums_lower_the_exponent():
    weights = np.full((2, 200, 3, 3), 1.0)
    weights[1, 100:] = 0
    integers, exponents = quantise(weights)
    sums = 255 * np.abs(integers.astype(int)).sum((1, 2, 3))
    assert (sums < SUM_LIMIT // 2).all()
    assert exponents[0] == 4
    assert exponents[1] == 5


def test_integer_mixtures_sum_and_stay_near():
    logits = torch.randn(5, 2, 3, 6, generator=torch.Generator().manual_seed(4)) * 4
    integers = mixture16(logits)
    assert (integers.sum(-1) == 65536).all()
    assert integers.min() >= 0
    assert integers[..., -1].min() >= 127  # 2**-9 of the widest
    from vdmcompress.diffusion import mixture_weights

    assert np.abs(integers / 65536 - mixture_weights(logits.double()).numpy()).max() < 6 / 65536


def test_export_gives_the_committed_model(tmp_path):
    """The tiny model's two files belong together: exporting the float one gives the integers of the other."""
    made = export(model_support.load_tiny_float(), "tiny", tmp_path / "tiny.vdm.safetensors")
    committed = model_support.load_tiny()
    assert made.tensors.keys() == committed.tensors.keys()
    for name, tensor in committed.tensors.items():
        np.testing.assert_array_equal(made.tensors[name], tensor, err_msg=name)
    assert read_model(tmp_path / "tiny.vdm.safetensors").hash8 == made.hash8


def test_a_model_that_breaks_a_bound_is_not_written(tmp_path):
    model = Denoiser(model_support.tiny_config().network)
    with torch.no_grad():
        model.head_bias[3, 2] = 1e6
    path = tmp_path / "bad.vdm.safetensors"
    with pytest.raises(ModelMissingError, match="row 3 head can reach a sum"):
        export(model, "bad", path)
    assert not path.exists()
