"""Debian's Chromium, driven by Playwright, that reaches this machine alone and keeps what went wrong in a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 60_000  # for anything to appear: a machine that does other work as well needs its time
DESKTOP, PHONE = (1280, 900), (360, 740)
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-sandbox",  # root in a container has none to give
)
_HERE = {"127.0.0.1", None}  # None: data and blobs of the page itself


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium without a window."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page with what a visitor never sees: errors of scripts and of the security policy, and where it asked."""

    def __init__(self, browser: Browser, *, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        width, height = size
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.addresses: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.addresses.append(request.url))

    def open(self, url: str) -> Page:
        """Go to the page and wait until slices are shown and measured."""
        self.page.goto(url)
        self.page.locator("#values table").wait_for(state="attached")
        return self.page

    def asked_elsewhere(self) -> list[str]:
        """Addresses of other machines that the page asked for."""
        return [url for url in self.addresses if urlsplit(url).hostname not in _HERE]

    def close(self) -> None:
        """Close the page."""
        self.context.close()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)
