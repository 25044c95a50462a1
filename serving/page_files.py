"""The files that the page is made of, and what each is sent as."""

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
