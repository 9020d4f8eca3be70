"""Model files: strict, proved on loading, found by name and hash, never believed."""

import hashlib
import json
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from tests import model_support
from vdmcompress import model_file, model_search
from vdmcompress.engine import Engine
from vdmcompress.errors import MachineError, ModelMissingError
from vdmcompress.model_file import parse_model, read_model
from vdmcompress.model_search import find_model, list_models, load_model

tiny_model = model_support.tiny_model


@pytest.fixture(scope="module")
def data():
    return model_support.INTEGER.read_bytes()


def header(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size])["__metadata__"]


def rebuilt(data, config=None, meta=None, **tensors):
    """The file with some tensors, configuration entries or metadata replaced (None drops a tensor)."""
    model = parse_model(data, "tiny")
    found = header(data)
    settings = json.loads(found["config"]) | (config or {})
    found = found | {"config": json.dumps(settings)} | (meta or {})
    arrays = {k: np.ascontiguousarray(v) for k, v in (model.tensors | tensors).items() if v is not None}
    return save(arrays, found)


def test_the_tiny_model_is_what_its_configuration_says(data, tiny_model):
    config = model_support.tiny_config()
    assert tiny_model.name == config.name == "tiny"
    assert (tiny_model.width, tiny_model.blocks, tiny_model.scales) == (8, 1, 2)
    assert tiny_model.path == config.network.path
    assert tiny_model.hash8 == hashlib.sha256(data).digest()[:8]
    assert len(data) < 100_000
    assert parse_model(rebuilt(data), "again").path == tiny_model.path


def test_identity_is_the_whole_file(data):
    other = parse_model(rebuilt(data, config={"name": "other"}), "other")
    assert other.name == "other"
    assert other.hash8 != parse_model(data, "tiny").hash8


def altered(data, name, index, value):
    tensor = parse_model(data, "tiny").tensors[name].copy()
    tensor[index] = value
    return rebuilt(data, **{name: tensor})


def test_bounds_are_proved_on_loading(data):
    with pytest.raises(ModelMissingError, match=r"tiny row 3 block 0 A has a weight of 64, allowed is 63"):
        parse_model(altered(data, "a", (3, 0, 1, 2, 0, 0), 64), "x")
    with pytest.raises(ModelMissingError, match=r"row 0 stem has a weight of 128"):
        parse_model(altered(data, "stem", (0, 1, 2, 0, 0), -128), "x")
    with pytest.raises(
        ModelMissingError, match=r"row 7 head can reach a sum of \d{8}, allowed is < 16777216"
    ):
        parse_model(altered(data, "head_bias", (7, 5), (1 << 24) - 1), "x")
    with pytest.raises(ModelMissingError, match=r"row 11 block 0 B can reach a sum"):
        parse_model(altered(data, "b_bias", (11, 0, 5), -(1 << 31)), "x")
    with pytest.raises(ModelMissingError, match=r"row 0 block 0 B has exponents outside 0..15"):
        parse_model(altered(data, "b_exponent", (0, 0, 0), 16), "x")
    with pytest.raises(ModelMissingError, match=r"row 4 linear predictor can reach"):
        parse_model(altered(data, "linear", (4, 0, 0, 0, 0), 1 << 21), "x")


@pytest.mark.parametrize("value", [70000, -1, 0])
def test_wrong_mixture_sums_are_refused(data, value):
    with pytest.raises(ModelMissingError, match="mixture weights do not sum to 65536"):
        parse_model(altered(data, "mixture", (2, 1, 0, 3), value), "x")


def test_fusion_tables_out_of_range_are_refused(data):
    for index, value in (((0, 0, 5), 65537), ((3, 0, 5), -1), ((2, 1, 0), 1 << 21)):
        with pytest.raises(ModelMissingError, match="fusion tables are out of range"):
            parse_model(altered(data, "fusion", index, value), "x")


def test_the_least_integer_is_out_of_range_too(data):
    """Its absolute value does not exist in 32 bits."""
    with pytest.raises(ModelMissingError, match="fusion tables are out of range"):
        parse_model(altered(data, "fusion", (2, 1, 0), -(1 << 31)), "x")


@pytest.mark.parametrize(
    "config", ["[" * 100_000, "[1]", "7", "null", "[" * 900 + "]" * 900, '{"path": 1e999}', '"x"']
)
def test_hostile_configurations_are_refused(data, config):
    with pytest.raises(ModelMissingError, match="x: not a sound model file"):
        parse_model(rebuilt(data, meta={"config": config}), "x")


def test_negative_mixture_weights_are_refused(data):
    mixture = parse_model(data, "tiny").tensors["mixture"].copy()
    mixture[0, 0, 0, :2] = -5, mixture[0, 0, 0, :2].sum() + 5
    with pytest.raises(ModelMissingError, match="mixture"):
        parse_model(rebuilt(data, mixture=mixture), "x")


def test_a_wrong_known_answer_is_refused_when_used(data):
    answers = parse_model(data, "tiny").tensors["answers"].copy()
    answers[-1] ^= 0x80000000
    model = parse_model(rebuilt(data, answers=answers), "x")
    with pytest.raises(MachineError, match=f"row 11, the model knows {int(answers[-1]):08x}"):
        Engine(model, 1)


HL = [[0, 32], [3, 33]]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"colour": 1}, "configuration keys"),
        ({"width": 7}, "width 7"),
        ({"width": 16}, "are not as the configuration has them"),
        ({"blocks": 16}, "blocks 16"),
        ({"blocks": 0}, "blocks 0"),
        ({"scales": 1}, "scales 1"),
        ({"width": None}, "NoneType"),
        ({"width": "8"}, "it is a str"),
        ({"blocks": 1.5}, "it is a float"),
        ({"scales": True}, "it is a bool"),
        ({"name": 3}, "name 3"),
        ({"name": "a\x1b[2J"}, "printable"),
        ({"name": "n" * 101}, "100 printable"),
        ({"path": [[[[float("inf"), 32]], [[1, 35]], []]]}, ""),
        ({"path": []}, ""),
        ({"path": [[HL, [[1, 35]]]]}, ""),
        ({"path": [[HL, [[1, 35]], [[0, 32]]]]}, "HH"),
        ({"path": [[HL, [[1, 35]], []], [HL, [], []]]}, "different numbers of levels"),
        ({"path": [[[[7, 32], [3, 33]], [[1, 35]], []]]}, "levels outside"),
        ({"path": [[[[0, 128], [3, 33]], [[1, 35]], []]]}, "levels outside"),
        ({"path": [[[[6, 60], [3, 33]], [[1, 35]], []]]}, "latents reach"),
    ],
)
def test_wrong_configurations_are_refused(data, config, why):
    with pytest.raises(ModelMissingError, match=f"x: not a sound model file .*{why}"):
        parse_model(rebuilt(data, config=config), "x")


def test_strips_are_never_lower_than_the_reach():
    """The most blocks that are allowed still see no farther than the lowest strip."""
    from vdmcompress.path import PLANS

    assert min(plan.strip for plan in PLANS) >= 2 * 15 + 1


def test_wrong_tensors_are_refused_by_name(data):
    good = parse_model(data, "tiny").tensors
    for name, value in (
        ("stem", None),
        ("stem", good["stem"].astype(np.int16)),
        ("linear", good["linear"][:-1]),
        ("extra", np.zeros(3, np.int8)),
    ):
        with pytest.raises(ModelMissingError, match=f"tensors {name} are not"):
            parse_model(rebuilt(data, **{name: value}), "x")
    for value in (None, good["b"][:0]):
        with pytest.raises(ModelMissingError, match="0 sets of B"):
            parse_model(rebuilt(data, b=value), "x")


def test_sets_of_b_are_chosen_by_weight_set(data):
    """Several sets of B come with a choice that names no other; one set comes without."""
    model = parse_model(data, "tiny")
    good, sets = model.tensors, 2 * model.slots
    b = np.concatenate((good["b"], np.roll(good["b"], 1, -1)))
    exponent = np.concatenate((good["b_exponent"],) * 2)
    choice = (np.arange(sets) % 2).astype(np.uint8)
    made = parse_model(rebuilt(data, b=b, b_exponent=exponent, b_set=choice), "x")
    for row in range(2 * model.slots):
        np.testing.assert_array_equal(made.evaluation(row).blocks[0][1].weights, b[row % 2, 0])
    with pytest.raises(ModelMissingError, match="B number 2, there are 2"):
        parse_model(rebuilt(data, b=b, b_exponent=exponent, b_set=2 * choice), "x")
    for wrong in ({"b_set": None}, {"b_set": choice[1:]}, {"b_set": choice.astype(np.int8)}):
        with pytest.raises(ModelMissingError, match="tensors b_set are not"):
            parse_model(rebuilt(data, b=b, b_exponent=exponent, **wrong), "x")
    with pytest.raises(ModelMissingError, match="tensors b_set are not"):
        parse_model(rebuilt(data, b_set=0 * choice), "x")
    many = [np.concatenate((good[name],) * (sets + 1)) for name in ("b", "b_exponent")]
    with pytest.raises(ModelMissingError, match=f"{sets + 1} sets of B, allowed are 1 to {sets}"):
        parse_model(rebuilt(data, b=many[0], b_exponent=many[1], b_set=choice), "x")


def test_other_formats_are_refused(data):
    with pytest.raises(ModelMissingError, match="format 'vdmc-model-9', allowed is 'vdmc-model-0'"):
        parse_model(rebuilt(data, meta={"format": "vdmc-model-9"}), "x")
    with pytest.raises(ModelMissingError, match="not a sound model file"):
        parse_model(save({"a": np.zeros(3, np.int8)}), "x")


def test_damaged_files_raise_nothing_else(data):
    """Cut anywhere, or with a byte of the header altered: refused, or still a model that was proved."""
    for size in [*range(64), 200, 1000, len(data) - 1]:
        with pytest.raises(ModelMissingError):
            parse_model(data[:size], "cut")
    rng = np.random.default_rng(3)
    end = 8 + struct.unpack("<Q", data[:8])[0]
    refused = 0
    for at in rng.choice(end, 300, replace=False):
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        try:
            parse_model(bytes(changed), "changed")
        except ModelMissingError:
            refused += 1
    assert refused > 250


@pytest.fixture
def folder(tmp_path, monkeypatch, data):
    """A folder with the tiny model in the search path, and no models in the package."""
    monkeypatch.setattr(model_search, "files", lambda package: tmp_path / "package")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tiny.vdm.safetensors").write_bytes(data)
    monkeypatch.setenv("VDMC_MODEL_PATH", f"{tmp_path / 'missing'}:{tmp_path / 'other'}")
    return tmp_path


def test_models_are_found_by_name_hash_and_path(folder, tiny_model):
    path = folder / "other" / "tiny.vdm.safetensors"
    for name in ("tiny", tiny_model.hash8.hex(), str(path)):
        assert load_model(name).hash8 == tiny_model.hash8
    assert find_model(tiny_model.hash8).name == "tiny"
    (info,) = list_models()
    assert (info.name, info.hash, info.path) == ("tiny", tiny_model.hash8.hex(), str(path))
    assert info.bytes == path.stat().st_size


def test_the_package_comes_first(folder, data, tiny_model):
    shipped = folder / "package" / "models"
    shipped.mkdir(parents=True)
    (shipped / "tiny.vdm.safetensors").write_bytes(rebuilt(data, config={"name": "first"}))
    assert load_model("tiny").name == "first"
    assert [m.path.startswith(str(shipped)) for m in list_models()] == [True, False]
    assert find_model(tiny_model.hash8).name == "tiny"


def test_missing_models_are_named(folder, tmp_path):
    with pytest.raises(
        ModelMissingError, match="no model 'large'; found are: tiny; set VDMC_MODEL_PATH"
    ) as met:
        load_model("large")
    assert met.value.exit_code == 4
    with pytest.raises(ModelMissingError, match="no model 'photo'"):
        load_model(None)
    with pytest.raises(ModelMissingError, match="model 0102030405060708 is not in the package"):
        find_model(bytes(range(1, 9)))
    with pytest.raises(ModelMissingError, match=r"none\.safetensors: No such file"):
        load_model(str(tmp_path / "none.safetensors"))
    with pytest.raises(ModelMissingError, match="directory"):
        read_model(tmp_path)


def test_huge_files_are_not_read(tmp_path, monkeypatch, data):
    path = tmp_path / "huge.vdm.safetensors"
    path.write_bytes(data)
    monkeypatch.setattr(model_file, "SIZE_LIMIT", 1000)
    with pytest.raises(ModelMissingError, match=f"{len(data)} bytes, a model has at most 1000"):
        read_model(path)


def test_a_pickle_is_not_a_model(tmp_path):
    import torch

    path = tmp_path / "evil.vdm.safetensors"
    torch.save({"stem": torch.zeros(3)}, path)
    with pytest.raises(ModelMissingError, match="not a sound model file"):
        read_model(path)


def test_a_corrector_that_is_a_single_number_is_refused(data):
    with pytest.raises(ModelMissingError, match="correct_hidden"):
        parse_model(rebuilt(data, correct_hidden=np.zeros((), np.int16)), "bad")


def test_a_file_is_parsed_again_where_its_bytes_changed(data, tmp_path):
    """Of the same size, at the same time: only the bytes tell. A model with other tensors keeps nothing."""
    path = tmp_path / "tiny.vdm.safetensors"
    path.write_bytes(data)
    times = path.stat()
    first = read_model(path)
    assert read_model(path) is first
    path.write_bytes(altered(data, "head_bias", (7, 5), 12345))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = read_model(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert second.hash8 != first.hash8
    assert int(second.tensors["head_bias"][7, 5]) == 12345
    assert first.prepared is not None and replace(first, tensors=second.tensors).prepared is None
