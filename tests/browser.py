"""A page opened in headless Chromium: what it asks for, what it complains of, how it lies on a narrow screen."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest

PROBE = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><body style="margin:0"><pre id="found">nothing</pre><script>
addEventListener("load", () => {
  const frame = document.createElement("iframe");
  frame.style = "border:0;width:WIDTHpx;height:900px";
  const errors = [];
  frame.onload = () => setTimeout(() => {
    const page = frame.contentDocument, window_ = frame.contentWindow;
    document.getElementById("found").textContent = JSON.stringify({
      errors: errors,
      width: window_.innerWidth,
      scroll: page.documentElement.scrollWidth,
      images: [...page.images].map(image => [image.src.slice(0, 40), image.complete && image.naturalWidth > 0]),
      drawn: [...page.querySelectorAll("svg, canvas")].map(drawn => drawn.getBoundingClientRect().width),
      tables: [...page.querySelectorAll("table")].map(table => table.rows.length),
      title: page.title,
      requests: window_.performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
      background: window_.getComputedStyle(page.body).backgroundColor,
      text: page.body.innerText,
      rendered: page.querySelectorAll("canvas, svg.marks").length,
    });
  }, WAIT);
  frame.src = "PAGE";
  document.body.appendChild(frame);
  frame.contentWindow.addEventListener("error", event => errors.push(event.message));
});
</script>"""


def chromium() -> str:
    """Path of the browser; skips the test where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine (Debian package `chromium`): the page cannot be opened")


def opened(page: Path, folder: Path, width: int = 1200, dark: bool = False, wait: int = 50) -> dict[str, Any]:
    """What the browser finds in the page at this width; ``stderr`` holds its console, ``asked`` what it requested of any server."""
    browser = chromium()
    with serving(page) as (port, asked):
        probe = PROBE.replace("WIDTH", str(width)).replace("WAIT", str(wait)).replace("PAGE", f"/{page.name}")
        (page.parent / "probe.html").write_text(probe, encoding="utf-8")
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--enable-logging=stderr",
                # Every host but our own leads nowhere, so that a request to one is an error in the console.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={folder / 'profile'}",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={max(width, 500)},1000",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"http://127.0.0.1:{port}/probe.html",
            ],
            capture_output=True,
            text=True,
            timeout=600,
        )
    found = unescape(done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0])
    assert found.startswith("{"), f"the page did not load: {done.stdout[:500]}\n{done.stderr[-2000:]}"
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(found), "console": console, "asked": asked}


@contextmanager
def serving(page: Path) -> Iterator[tuple[int, list[str]]]:
    """The page's folder on a port of this machine, and the list of the paths that are asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(page.parent))

        def log_message(self, format: str, *arguments: Any) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()
