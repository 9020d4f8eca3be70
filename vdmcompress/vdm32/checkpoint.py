"""A trained vdm32 in one safetensors file: averaged weights in bfloat16, the schedule in float32, the
configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from vdmcompress.errors import UsageError
from vdmcompress.vdm32.config import Vdm32Config, from_table
from vdmcompress.vdm32.denoiser import Denoiser
from vdmcompress.vdm32.schedule import Schedule, make_schedule

SHIPPED = Path(__file__).with_name("vdm32.safetensors")


@dataclass(frozen=True)
class Vdm32:
    """A model: its denoiser, ready to evaluate, its schedule, its configuration, notes on its training."""

    denoiser: Denoiser
    schedule: Schedule
    config: Vdm32Config
    notes: dict[str, float]


def build(config: Vdm32Config) -> tuple[Denoiser, Schedule]:
    """An untrained model, its weights drawn with the configuration's seed."""
    torch.manual_seed(config.train.seed)
    denoiser = Denoiser(config.denoiser)
    return denoiser, make_schedule(config.train.schedule, config.train.gamma_0, config.train.gamma_1)


def save(
    path: Path, denoiser: Denoiser, schedule: Schedule, config: Vdm32Config, notes: dict[str, float]
) -> None:
    """Write a model."""
    from safetensors.torch import save_file

    state = {f"denoiser.{k}": v.detach().to(torch.bfloat16) for k, v in denoiser.state_dict().items()}
    state |= {f"schedule.{k}": v.detach().to(torch.float32) for k, v in schedule.state_dict().items()}
    metadata = {"config": json.dumps(config.table()), "notes": json.dumps(notes)}
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)


def load(path: Path | None = None) -> Vdm32:
    """Read a model, None for the one in the package; UsageError where there is none."""
    from safetensors import SafetensorError, safe_open

    path = path or SHIPPED
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        config = from_table(json.loads(metadata["config"]), str(path))
        denoiser, schedule = build(config)
        for prefix, module in (("denoiser.", denoiser), ("schedule.", schedule)):
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            module.load_state_dict(own)
    except (OSError, SafetensorError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is not a vdm32 checkpoint: {error}") from error
    for parameter in [*denoiser.parameters(), *schedule.parameters()]:
        parameter.requires_grad_(False)
    return Vdm32(denoiser.eval(), schedule.eval(), config, json.loads(metadata.get("notes", "{}")))
