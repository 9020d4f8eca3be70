"""An image evaluated with the model that `encode` takes: of those that may serve, the one of fewest bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from vdmcompress import model_search
from vdmcompress.choice import models_of
from vdmcompress.efforts import Effort
from vdmcompress.measure.evaluation import evaluate_picture
from vdmcompress.model_file import Model
from vdmcompress.picture import Picture


class Chooser:
    """Evaluates pictures as `encode` codes them; keeps the models that it has loaded.

    effort: whose model is tried.  wanted: a model by name or path, None for those of `choice.models_of`.
    """

    def __init__(self, effort: Effort, wanted: str | None = None) -> None:
        self.effort, self.wanted = effort, wanted
        self.load: Callable[[str], Model] = lru_cache(lambda name: model_search.load_model(name))

    def evaluate(
        self,
        picture: Picture,
        device: str,
        threads: int,
        latents: Sequence[str],
        progress: Callable[[float], None] | None = None,
        colour: str = "auto",
    ) -> tuple[dict[str, Any], Model]:
        """What `evaluate_picture` finds with the model that makes the smallest file, and that model.

        Raises what `evaluate_picture` and `load_model` raise.
        """
        names = models_of(picture, self.effort, self.wanted, colour)
        tried = []
        for index, name in enumerate(names):

            def show(share: float, index: int = index) -> None:
                if progress is not None:
                    progress((index + share) / len(names))

            model = self.load(name)
            sought = self.effort.search(colour)
            tried.append((evaluate_picture(picture, model, device, threads, latents, show, sought), model))
        return min(tried, key=lambda each: int(each[0]["file_bytes"]))


def served(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Images by the name of the model that served them, the most images first."""
    return dict(Counter(record["model"] for record in records).most_common())


def models_in_words(models: Mapping[str, int]) -> str:
    """The model's name, or of several how many images each served."""
    if len(models) == 1:
        return f"model {next(iter(models))}"
    return "models " + ", ".join(
        f"{name} ({count} image{'s' * (count > 1)})" for name, count in models.items()
    )
