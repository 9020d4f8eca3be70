"""Decoding reads: it starts no process, opens no connection, unpickles nothing and writes nothing."""

import subprocess
import sys
from pathlib import Path

from codec.kernels import PRECISION
from fuzz import corpus
from vdmcompress.container import FREE_PIXELS, PIXELS_PER_BYTE

ROOT = Path(__file__).resolve().parent.parent

WATCHED = """
import sys
from fuzz import corpus
sound, damaged = corpus.load("sound"), corpus.load("damaged")
first = ("rgb-17x12", "rgb-16bit", "rgb-21x19-jpeg-420", "rgb-22x20-photocd-420")
for data in (*map(sound.get, first), damaged["noise"]):  # imports and compiles
    corpus.outcome(data)
met = []
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork",
                         "pickle.", "marshal.", "ctypes.dlopen", "urllib.", "shutil.")):
        met.append(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        met.append(f"open {arguments[0]!r} {arguments[1]}")
sys.addaudithook(watch)
for data in (*sound.values(), *damaged.values()):
    corpus.outcome(data)
seen = sorted(set(met))
import pickle
pickle.loads(pickle.dumps(corpus.Path("x")))
assert "pickle.find_class" in met, "the hook sees nothing"
print(*seen, sep="\\n")
sys.exit(len(seen))
"""


def test_decoding_does_nothing_but_read(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_no_source_unpickles():
    for folder in ("codec", "vdmcompress", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "import pickle" not in text, path
            assert "allow_pickle=True" not in text, path
            assert "weights_only=False" not in text, path


def test_the_page_has_the_rule_of_the_format():
    """4096 + 64 n pixels, in both documents, and the least cost of a value as it says."""
    import math

    rule = f"{FREE_PIXELS} + {PIXELS_PER_BYTE} n pixels"
    for name in ("security.md", "format.md"):
        assert rule in (ROOT / "docs" / name).read_text()
    text = (ROOT / "docs" / "security.md").read_text()
    for values in (511, 2041):
        least = PRECISION - math.log2((1 << PRECISION) - values + 1)
        assert f"{least:.1e}".replace("e-0", "e-") in text
