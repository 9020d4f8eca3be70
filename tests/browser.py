"""A page in headless Chromium, where there is one: what it measures of it, and a picture of it.

`python -m tests.browser PAGE.html FOLDER` writes pictures of a page, wide, dark and narrow, to look at.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=5000",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"

PROBE = """
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const fits = e => e.closest(".wide") || e.getBoundingClientRect().right <= root.clientWidth + 1;
  const all = [...page.body.querySelectorAll("*")];
  const labels = [...page.querySelectorAll("svg text")].map(e => e.getBoundingClientRect());
  document.body.dataset.found = JSON.stringify({
    width: root.clientWidth,
    scroll: root.scrollWidth,
    outside: all.filter(e => !fits(e)).map(e => e.outerHTML.slice(0, 60)).slice(0, 5),
    images: page.images.length,
    broken: [...page.images].filter(i => !i.complete || !i.naturalWidth).length,
    hidden: [...page.images].filter(i => i.getBoundingClientRect().height < 8).length,
    paper: page.defaultView.getComputedStyle(page.body).backgroundColor,
    smallest: Math.min(...labels.map(r => r.height)),
  });
});
</script>
"""


def find_chromium() -> str:
    """The browser; skips the test where there is none."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


def inspect(html: str, width: int, dark: bool = False) -> dict[str, Any]:
    """What the page is like in a window of this width; console: what the browser complained of."""
    out, err = _run(_framed(html, width, 900) + PROBE, ["--dump-dom", *([DARK] if dark else [])], width)
    found = re.search(r'data-found="([^"]*)"', out)
    if found is None:
        raise RuntimeError(f"the browser said nothing of the page: {err[-2000:]}")
    told: dict[str, Any] = json.loads(unescape(found[1]))
    return told | {"console": [line for line in err.splitlines() if "CONSOLE" in line]}


def picture(html: str, path: Path, width: int, height: int, dark: bool = False) -> None:
    """Write a PNG of the top ``height`` pixels of the page."""
    extra = [f"--screenshot={path}", f"--window-size={max(width, 500)},{height}", *([DARK] if dark else [])]
    _run(_framed(html, width, height), extra, width)


def _framed(html: str, width: int, height: int) -> str:
    """The page in a frame, which can be narrower than the browser lets a window be."""
    frame = f'<iframe style="border:0;width:{width}px;height:{height}px" srcdoc="{escape(html)}"></iframe>'
    return f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{frame}'


def _run(html: str, flags: list[str], width: int) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as place:
        page = Path(place, "page.html")
        page.write_text(html)
        command = [find_chromium(), *FLAGS, f"--user-data-dir={place}/user", *flags]
        if not any(flag.startswith("--window-size") for flag in flags):
            command.append(f"--window-size={max(width, 500)},900")
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=300)
    return done.stdout, done.stderr


if __name__ == "__main__":
    text, folder = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, wide, high, night in (
        ("wide", 1280, 6000, False), ("dark", 1280, 6000, True), ("narrow", 375, 9000, False),
    ):  # fmt: skip
        picture(text, folder / f"{name}.png", wide, high, night)
        sys.stdout.write(f"{name} {inspect(text, wide, night)}\n")
