"""Settings that must stand before anything numerical is imported, and the fixtures of the command line."""

import os
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# One thread each: the suite runs in parallel processes, and spinning threads slow each other down.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Compiled kernels are shared by the test processes and by later runs.
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))
# A model folder of the person who runs the suite must not decide what is found.
os.environ.pop("VDMC_MODEL_PATH", None)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from tests import cli_support  # noqa: E402

# No deadlines: the first example of a kernel compiles it. The same examples in every run.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.fixture
def vdmc() -> Callable[..., "cli_support.Result"]:
    """Run `vdmc` in this process: vdmc("encode", path, input=b"") gives click's result."""
    from click.testing import CliRunner

    from cli.main import cli

    def run(*arguments: str | Path, input: bytes | None = None) -> cli_support.Result:
        return CliRunner().invoke(cli, [str(a) for a in arguments], input=input)

    return run


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> "cli_support.FakeLibrary":
    """Replace the library's encode, decode and decode_picture."""
    from vdmcompress import api

    fake = cli_support.FakeLibrary()
    monkeypatch.setattr(api, "encode", fake.encode)
    monkeypatch.setattr(api, "decode", fake.decode)
    monkeypatch.setattr(api, "decode_picture", fake.decode_picture)
    return fake


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An RGB PNG of 24x16 pixels."""
    return cli_support.save(cli_support.colours(16, 24), tmp_path / "picture.png")


@pytest.fixture
def grey_picture(tmp_path: Path) -> Path:
    """A grey PNG of 24x16 pixels."""
    return cli_support.save(cli_support.colours(16, 24)[..., 0], tmp_path / "grey.png")
