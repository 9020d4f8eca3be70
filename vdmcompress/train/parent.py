"""The float parent of a shipped model: averaged weights in bfloat16, to continue training from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vdmcompress.errors import UsageError

PARENT_SUFFIX = ".float.safetensors"


def save_parent(model: torch.nn.Module, path: Path) -> None:
    """Write a model's parameters in bfloat16; the form goes into the metadata."""
    from safetensors.torch import save_file

    state = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, {"form": str(getattr(model, "form", ""))})


def load_parent(path: Path) -> dict[str, Any]:
    """A float parent as a checkpoint's entries `form` and `ema`; UsageError where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            ema = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
            return {"form": (file.metadata() or {}).get("form", ""), "ema": ema}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is not a float parent of a model: {error}") from error
