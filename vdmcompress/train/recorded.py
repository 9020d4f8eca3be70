"""Steps of training recorded once and played by the GPU alone (CUDA graphs).

A step of this network is some thousand small kernels. To launch them from Python takes longer than to
compute them, unless batches are large, and large batches make few steps. A recorded step is launched as one.
Each kind of step (evaluation, shape) is run twice: the first time as it is, so that optimisers have their
state and libraries have chosen their kernels, the second time to be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: Tensors
    results: Tensors


@dataclass
class RecordedCalls:
    """Calls of functions of tensors, recorded by key where these are on a CUDA device.

    All recordings share their memory: results are copied before another one is played.
    """

    _met: set[Hashable] = field(default_factory=set)
    _found: dict[Hashable, _Recording] = field(default_factory=dict)
    _pool: Any = None

    def __call__(self, key: Hashable, call: Callable[..., Tensors], *inputs: torch.Tensor) -> Tensors:
        """What call(*inputs) gives; its shapes and steps belong to the key. It must not wait for the GPU."""
        if not all(x.is_cuda for x in inputs):
            return call(*inputs)
        if key not in self._met:
            self._met.add(key)
            return call(*inputs)
        if key not in self._found:
            self._found[key] = self._record(call, inputs)
        recording = self._found[key]
        for kept, given in zip(recording.inputs, inputs, strict=True):
            kept.copy_(given)
        recording.graph.replay()
        return tuple(result.clone() for result in recording.results)

    def _record(self, call: Callable[..., Tensors], inputs: Tensors) -> _Recording:
        """Other threads may go on using the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        kept = tuple(x.clone() for x in inputs)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            results = call(*kept)
        self._pool = graph.pool()
        return _Recording(graph, kept, results)


def default_noise(device: torch.device) -> torch.Generator:
    """The device's own generator, which recorded steps draw from anew each time."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
