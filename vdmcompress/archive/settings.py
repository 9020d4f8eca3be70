"""What goes into a group, how it is coded, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from vdmcompress.api import by_diffusion
from vdmcompress.archive.directory import Member
from vdmcompress.choice import models_for, models_of
from vdmcompress.decoding import check_work
from vdmcompress.efforts import DEFAULT_EFFORT, effort_of
from vdmcompress.errors import UsageError
from vdmcompress.path import ORDERS
from vdmcompress.picture import Picture

__all__ = ["Entry", "GroupSettings", "Made"]


@dataclass(frozen=True)
class Entry:
    """A picture that goes into an archive: name, and what is kept of its file (see `directory.Member`)."""

    name: str
    picture: Picture
    modified: int | None = None
    permissions: int | None = None

    def member(self, single: bool) -> Member:
        """As the directory has it."""
        picture = self.picture
        return Member(
            self.name, picture.width, picture.height, picture.mode, picture.depth, single, self.modified,
            self.permissions,
        )  # fmt: skip


@dataclass(frozen=True)
class GroupSettings:
    """How groups are coded; the same for all of an archive.  Only effort, model and latents alter bytes.

    effort, model, latents, threads, device, verify, memory: as in `vdmcompress.encode`.
    """

    effort: int = DEFAULT_EFFORT
    model: str | None = None
    latents: str | None = None
    threads: int | None = None
    device: str = "auto"
    verify: bool = True
    memory: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for settings that `encode` would refuse."""
        effort_of(self.effort)
        check_work(self.threads, self.device, self.memory)
        if self.latents is not None and self.latents not in ORDERS:
            raise UsageError(f"latents {self.latents!r} is not known; allowed are {', '.join(ORDERS)}")

    def models(self, picture: Picture) -> tuple[str, ...]:
        """Names of the models that may code a picture; none where diffusion does not serve it."""
        if not by_diffusion(picture):
            return ()
        return models_of(picture, effort_of(self.effort), self.model)

    @property
    def large_models(self) -> tuple[str, ...]:
        """Names of the models that may code large images."""
        return models_for(2**32, 2**32, effort_of(self.effort), self.model)


@dataclass(frozen=True)
class Made:
    """A coded group.  record: its bytes.  members: in their order there.  model: its hash, b"" for none.

    bound: bits that the lanes hold by the coder's own count.
    """

    record: bytes
    members: list[Member]
    model: bytes
    bound: float = field(default=0.0, compare=False)
