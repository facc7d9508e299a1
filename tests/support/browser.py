"""A real browser over its debugging pipe: no driver, no port, nothing but the standard library."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


def find_browser() -> str:
    """The path of a Chromium; its absence is a failure, since a page nobody looked at is not tested."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    assert found, f"none of {', '.join(NAMES)} is on PATH: install the Debian package `chromium`"
    return found


class Browser:
    """One page of a running browser, and what it asked of the network or complained about."""

    def __init__(self, commands: IO[bytes], replies: IO[bytes]) -> None:
        self._commands, self._replies, self._last_id = commands, replies, 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The result of a DevTools command; events that arrive meanwhile are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": arguments}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            reply = self._receive()
            if reply.get("id") == self._last_id:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._replies.read(1)) != b"\0":
            assert byte, "the browser closed its pipe"
            message += byte
        reply = json.loads(message)
        if "method" in reply:
            self.events.append(reply)
        return reply

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Show a file, and return when it has loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def requested(self) -> list[str]:
        """Every address the page has asked for."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def complaints(self) -> list[str]:
        """Warnings and errors in the console, and uncaught exceptions."""
        told = []
        for event in self.events:
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] in (
                "warning",
                "error",
            ):
                told.append(event["params"]["entry"]["text"])
            if event["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                told.append(json.dumps(event["params"]))
        return told

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(image))

    def pdf(self, path: Path) -> None:
        """Write the page as it would be printed."""
        data = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile, ended when the block ends."""
    commands_read, commands_write = os.pipe()
    replies_read, replies_write = os.pipe()
    # The debugging pipe is file descriptors 3 and 4 of the browser.
    shell = f'exec "$@" 3<&{commands_read} 4>&{replies_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, "browser", find_browser(), *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(commands_read, replies_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_read)
    os.close(replies_write)
    with os.fdopen(commands_write, "wb") as commands, os.fdopen(replies_read, "rb") as replies:
        try:
            yield Browser(commands, replies)
        finally:
            process.terminate()
            process.wait(timeout=30)
