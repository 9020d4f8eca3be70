"""Model files: safetensors with strict configuration, integers only, identity by hash, known answers.

Tensors (S = 2 * slots weight sets, R = scales * slots rows, n blocks, w channels):

    stem int8 (S, w, 30, 3, 3)      stem_exponent int8 (S, w)        stem_bias int32 (R, w)
    a int8 (S, n, w, w, 3, 3)       a_exponent int8 (S, n, w)        a_bias int32 (R, n, w)
    b int8 (G, n, w, w, 3, 3)       b_exponent int8 (G, n, w)        b_bias int32 (R, n, w)
    b_set uint8 (S,)                number 0..G-1 of each weight set's B; not there where G = 1
    head int8 (S, 24, w)            head_exponent int8 (S, 24)       head_bias int32 (R, 24)
    linear int32 (R, 6, 12, 3, 3)   mixture int32 (R, 2, 3, 6), sums 65536
    fusion int32 (R, 2, 128)        Bayes' rule by prior scale index, see `conditionals.fusion_table`
    answers uint32 (R,)             known answer of each evaluation

and, all of them or none, the correctors of directly coded bands (`codec/corrector.py`), H and H' units; the
middle only where there are 52 inputs, the output has H units where there are 24:

    correct_hidden int16 (R, 3, 24 or 52, H)   correct_hidden_bias int32 (R, 3, H)
    correct_middle int16 (R, 3, H, H')         correct_middle_bias int32 (R, 3, H')
    correct_output int16 (R, 3, 2, H' or H)    correct_output_bias int32 (R, 3, 2)

The metadata hold the format version and the configuration as JSON.  A model's identity is the first 8 bytes
of the file's SHA-256.  Nothing is ever unpickled, executed or downloaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.corrector import INPUTS, WIDE, Corrector
from codec.errors import BinsError
from vdmcompress.errors import ModelMissingError
from vdmcompress.exact import FEATURES, LINEAR_INPUTS, PART, ExactEvaluation, Layer, check_sizes
from vdmcompress.mirrors import check_views
from vdmcompress.path import NoisePath

FORMAT = "vdmc-model-0"
SUFFIX = ".vdm.safetensors"
SIZE_LIMIT = 64 << 20
NAME_LENGTH = 100
CORRECTOR_TENSORS = tuple(
    f"correct_{layer}{part}" for layer in ("hidden", "middle", "output") for part in ("", "_bias")
)


@dataclass(frozen=True)
class Model:
    """A loaded model: integers that determine the bitstream together with the file format.

    name; hash8: first 8 bytes of the file's SHA-256; path: the noise path; width, blocks, scales: the graph;
    views: how often the network looks at a band (`mirrors.py`).  prepared: what engines made of rows, by the
    names of backends, so that images after the first need not wait for it; None where nothing is kept.
    """

    name: str
    hash8: bytes
    path: NoisePath
    width: int
    blocks: int
    scales: int
    tensors: dict[str, NDArray[Any]] = field(repr=False, compare=False)
    views: int = 1
    prepared: dict[tuple[str, int], Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def slots(self) -> int:
        """Network evaluations of a scale."""
        return len(self.path.steps)

    def row(self, scale: int, slot: int) -> int:
        """Index of an evaluation's biases, predictor, mixture and known answer."""
        return min(scale, self.scales - 1) * self.slots + slot

    def evaluation(self, row: int) -> ExactEvaluation:
        """The integer graph of a row."""
        t = self.tensors
        scale, slot = divmod(row, self.slots)
        s = min(scale, 1) * self.slots + slot
        sb = int(t["b_set"][s]) if "b_set" in t else 0
        blocks = tuple(
            (
                Layer(t["a"][s, i], t["a_bias"][row, i], t["a_exponent"][s, i]),
                Layer(t["b"][sb, i], t["b_bias"][row, i], t["b_exponent"][sb, i]),
            )
            for i in range(self.blocks)
        )
        return ExactEvaluation(
            Layer(t["stem"][s], t["stem_bias"][row], t["stem_exponent"][s]),
            blocks,
            Layer(t["head"][s][..., None, None], t["head_bias"][row], t["head_exponent"][s]),
            t["linear"][row],
        )

    def answer(self, row: int) -> int:
        """Known answer of a row."""
        return int(self.tensors["answers"][row])

    def mixture(self, row: int, direct: bool) -> NDArray[np.int32]:
        """Level-0 mixture weights int32 (3, 6), sums 65536."""
        weights: NDArray[np.int32] = self.tensors["mixture"][row, int(direct)]
        return weights

    def fusion(self, row: int) -> NDArray[np.int32]:
        """Integers of Bayes' rule int32 (2, 128): omega with 16 fractional bits, scale index with 8."""
        table: NDArray[np.int32] = self.tensors["fusion"][row]
        return table

    def corrector(self, row: int) -> Corrector | None:
        """The corrector of a row's directly coded band; None without one, or where all its weights are 0."""
        if "correct_hidden" not in self.tensors:
            return None
        none = {"correct_middle": np.zeros((3, self.tensors["correct_hidden"].shape[-1], 0), np.int32)}
        none["correct_middle_bias"] = none["correct_middle"][:, 0]
        parts = [
            np.ascontiguousarray(self.tensors[n][row] if n in self.tensors else none[n], np.int32)
            for n in CORRECTOR_TENSORS
        ]
        return Corrector(*parts) if any(part.any() for part in parts) else None

    def prove(self) -> None:
        """Check every bound of every evaluation (`exact.Layer.prove`)."""
        for row in range(self.scales * self.slots):
            self.evaluation(row).prove(f"{self.name} row {row}")


def expected_shapes(
    width: int,
    blocks: int,
    scales: int,
    slots: int,
    b_sets: int,
    units: int | None = None,
    last: int | None = None,
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of every tensor of a model file.

    units: of the correctors, None without them.  last: of their second layers, None without these.
    """
    w, n, sets, rows = width, blocks, 2 * slots, scales * slots
    h = units or 0
    correctors = {
        "correct_hidden": ("int16", (rows, 3, INPUTS if last is None else WIDE, h)),
        "correct_hidden_bias": ("int32", (rows, 3, h)),
        "correct_output": ("int16", (rows, 3, 2, h if last is None else last)),
        "correct_output_bias": ("int32", (rows, 3, 2)),
    }
    if last is not None:
        correctors["correct_middle"] = ("int16", (rows, 3, h, last))
        correctors["correct_middle_bias"] = ("int32", (rows, 3, last))
    choice = {"b_set": ("uint8", (sets,))} if b_sets > 1 else {}
    return (
        ({} if units is None else correctors)
        | choice
        | {
            "stem": ("int8", (sets, w, FEATURES, 3, 3)),
            "stem_exponent": ("int8", (sets, w)),
            "stem_bias": ("int32", (rows, w)),
            "a": ("int8", (sets, n, w, w, 3, 3)),
            "a_exponent": ("int8", (sets, n, w)),
            "a_bias": ("int32", (rows, n, w)),
            "b": ("int8", (b_sets, n, w, w, 3, 3)),
            "b_exponent": ("int8", (b_sets, n, w)),
            "b_bias": ("int32", (rows, n, w)),
            "head": ("int8", (sets, 2 * PART, w)),
            "head_exponent": ("int8", (sets, 2 * PART)),
            "head_bias": ("int32", (rows, 2 * PART)),
            "linear": ("int32", (rows, 6, LINEAR_INPUTS, 3, 3)),
            "mixture": ("int32", (rows, 2, 3, 6)),
            "fusion": ("int32", (rows, 2, 128)),
            "answers": ("uint32", (rows,)),
        }
    )


def parse_model(data: bytes, where: str) -> Model:
    """Read a model from the bytes of its file; everything is checked before it is believed.

    Raises ModelMissingError for anything that is not a sound model file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    def bad(why: str) -> ModelMissingError:
        return ModelMissingError(f"{where}: not a sound model file ({why}); get another copy")

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = header["__metadata__"]
        config = json.loads(meta["config"])
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise bad(str(error)) from error
    if meta.get("format") != FORMAT:
        raise bad(f"format {meta.get('format')!r}, allowed is {FORMAT!r}")
    try:
        if not isinstance(config, dict):
            raise ValueError(f"configuration is a {type(config).__name__}")
        views = config.pop("views", 1)
        if sorted(config) != ["blocks", "name", "path", "scales", "width"]:
            raise ValueError(f"configuration keys {str(sorted(config))[:200]}")
        path = NoisePath.from_lists(config["path"])
        width, blocks, scales = (_whole(config[key]) for key in ("width", "blocks", "scales"))
        name = config["name"]
        if not isinstance(name, str) or not name.isprintable() or len(name) > NAME_LENGTH:
            raise ValueError(f"name {ascii(name)[:20]}, allowed are {NAME_LENGTH} printable characters")
        check_sizes(width, blocks, scales)
        check_views(_whole(views), path)
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise bad(str(error)) from error
    b_sets = len(tensors["b"]) if "b" in tensors and tensors["b"].ndim else 0
    slots = len(path.steps)
    if not 1 <= b_sets <= 2 * slots:
        raise bad(f"{b_sets} sets of B, allowed are 1 to {2 * slots}")
    units, last = (
        tensors[name].shape[-1] if name in tensors and tensors[name].ndim else None
        for name in ("correct_hidden", "correct_middle")
    )
    shapes = expected_shapes(width, blocks, scales, slots, b_sets, units, last)
    met = {k: (str(v.dtype), v.shape) for k, v in tensors.items()}
    if met != shapes:
        wrong = sorted(k for k in met.keys() | shapes.keys() if met.get(k) != shapes.get(k))
        raise bad(f"tensors {', '.join(wrong)} are not as the configuration has them")
    if b_sets > 1 and int(tensors["b_set"].max()) >= b_sets:
        raise bad(f"B number {int(tensors['b_set'].max())}, there are {b_sets}")
    mixture = tensors["mixture"]
    if int(mixture.min()) < 0 or bool((mixture.sum(-1) != 65536).any()):
        raise bad("mixture weights do not sum to 65536")
    omega, spread = tensors["fusion"][:, 0], tensors["fusion"][:, 1]
    farthest = max(int(spread.max()), -int(spread.min()))
    if int(omega.min()) < 0 or int(omega.max()) > 65536 or farthest > 1 << 20:
        raise bad("fusion tables are out of range")
    model = Model(name, hashlib.sha256(data).digest()[:8], path, width, blocks, scales, tensors, views)
    try:
        for row in range(scales * slots):
            model.corrector(row)
    except BinsError as error:
        raise bad(str(error)) from error
    model.prove()
    return model


@lru_cache(maxsize=2)
def _parsed(data: bytes, where: str) -> Model:
    """`parse_model`, once for many images; what engines prepare stays with the model."""
    model = parse_model(data, where)
    object.__setattr__(model, "prepared", {})  # a copy with other tensors begins with nothing
    return model


def _whole(value: object) -> int:
    """A number of the configuration; ValueError for what is none."""
    if type(value) is not int:
        raise ValueError(f"{str(value)[:20]!r} where a whole number stands; it is a {type(value).__name__}")
    return value


def read_model(path: Path) -> Model:
    """Load a model file."""
    try:
        size = path.stat().st_size
        if size > SIZE_LIMIT:
            raise ModelMissingError(f"{path}: {size} bytes, a model has at most {SIZE_LIMIT}")
        if not path.is_file():
            raise ModelMissingError(f"{path}: a directory or device; give the name or path of a model")
        with path.open("rb") as file:
            return _parsed(file.read(SIZE_LIMIT + 1), str(path))
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}; give the name or path of a model") from error
