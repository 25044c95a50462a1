"""The files that the page is made of, and what each is sent as."""

from functools import cache
from importlib.resources import files

from starlette.responses import Response

# page.js is loaded by the page and loads the other modules.
_MODULES = (
    "card",
    "colours",
    "dom",
    "drift",
    "model",
    "npz",
    "page",
    "reference",
    "service",
    "slices",
    "throughput",
)
PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _MODULES},
}


def page_file(name: str) -> Response:
    """Send one file of the page."""
    return Response(_read(name), headers={"Content-Type": PAGE_FILES[name]})


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
