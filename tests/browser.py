"""Chromium without a window for tests of pages, over the pipe of the DevTools protocol. Standard library only."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # a container may forbid it, and the pages are of the tests
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
LAUNCHER = (
    sys.executable,
    "-c",
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])",
)
"""Program that becomes Chromium, which reads from descriptor 3 and writes to 4."""
TIMEOUT_S = 60.0
HEIGHT = 800
ENABLED = ("Page", "Runtime", "Log", "Network", "Accessibility")
MEASURE = """
(() => {
  document.querySelectorAll('details').forEach(part => { part.open = true })
  const name = part => part.tagName + ' ' + (part.textContent || '').trim().slice(0, 40)
  const wide = [], clipped = []
  const scrolls = part => part && part !== document.body
    && (['auto', 'scroll'].includes(getComputedStyle(part).overflowX) || scrolls(part.parentElement))
  for (const part of document.body.querySelectorAll('*')) {
    if (part.closest('svg') || scrolls(part)) continue
    if (part.getBoundingClientRect().right > innerWidth + 1) wide.push(name(part))
  }
  for (const text of document.querySelectorAll('svg text')) {
    const box = text.getBoundingClientRect(), frame = text.closest('svg').getBoundingClientRect()
    const leading = box.height / 3  // a box has space above and below its letters
    const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1
      && box.top >= frame.top - leading && box.bottom <= frame.bottom + leading
    if (!inside) clipped.push(name(text))
  }
  const root = document.documentElement
  return {width: innerWidth, excess: root.scrollWidth - root.clientWidth, wide, clipped,
    pictures: document.querySelectorAll('svg, img').length}
})()
"""
"""Program that opens all details and looks for what is wider than the window or its picture."""


def find_chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class View(NamedTuple):
    """View of a page in a window of one width.

    Attributes:
      messages: errors and other messages of the console.
      requests: addresses that the page loads, without its own.
      width: the width of the window in pixels.
      excess: pixels by which the page is wider than the window.
      wide: parts outside of scrolled boxes that are wider than the window.
      clipped: texts of pictures that are cut off.
      pictures: the number of pictures.
      alt_texts: the accessible name of each picture.
    """

    messages: list[str]
    requests: list[str]
    width: int
    excess: float
    wide: list[str]
    clipped: list[str]
    pictures: int
    alt_texts: list[str]


class Browser:
    """A running Chromium. Messages are JSON that ends with a zero byte."""

    def __init__(self, write: int, read: int):
        self.write, self.read, self.buffer, self.number = write, read, b"", 0
        self.events: list[dict[str, Any]] = []

    def view(self, page: Path, width: int) -> View:
        """Open a page in a new window of this width, with all its details open."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ENABLED:
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self.events.clear()
        self.call("Page.navigate", session, url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()
        answer = self.call("Runtime.evaluate", session, expression=MEASURE, returnByValue=True)
        nodes = self.call("Accessibility.getFullAXTree", session)["nodes"]
        images = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img")]
        alt_texts = [node.get("name", {}).get("value", "") for node in images]
        requests = [
            url for url in self._parts("Network.requestWillBeSent", "request", "url") if url != page.as_uri()
        ]
        messages = [
            json.dumps(event["params"])
            for event in self.events
            if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        ]
        self.call("Target.closeTarget", targetId=target)
        return View(messages, requests, alt_texts=alt_texts, **answer["result"]["value"])

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result. Events that come first are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]

    def _parts(self, method: str, *keys: str) -> list[Any]:
        """Return a part of the parameters of each event of a method."""
        parts = [event["params"] for event in self.events if event["method"] == method]
        for key in keys:
            parts = [part[key] for part in parts]
        return parts

    def _receive(self) -> dict[str, Any]:
        """Wait for a message, keep it if it is an event, and return it."""
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"Chromium has not answered in {TIMEOUT_S:.0f} s"
            data = os.read(self.read, 2**16)
            assert data, "Chromium has ended"
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def open_browser(chromium: str) -> Iterator[Browser]:
    """Yield a running Chromium with an empty profile, and end it after the block."""
    import fcntl

    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        # Descriptors above 4, so that the launcher overwrites none.
        ends = []
        for end in (*os.pipe(), *os.pipe()):
            ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(end)
        their_read, write, read, their_write = ends
        stack.callback(os.close, read)
        process = subprocess.Popen(
            [*LAUNCHER, str(their_read), str(their_write), chromium, *OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(their_read, their_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_read)
        os.close(their_write)
        stack.callback(_end, process)
        stack.callback(os.close, write)
        browser = Browser(write, read)
        yield browser
        browser.call("Browser.close")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a browser whose pipe is closed to end, and kill it if it does not."""
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
