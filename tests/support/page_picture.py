"""Take the README's picture of the page: what the reference model shows.

python -m tests.support.page_picture docs/images/page.png
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.support.browser import Visit, open_browser
from tests.support.loopback_server import serve_worker

_BUNDLE = Path(__file__).parents[2] / "models" / "reference"
_ASKED = "level=COR&pattern=unilateral&count=12&seed=7"
_SIZE = (1100, 1000)


def take_picture(page: Page) -> bytes:
    """As PNG, down to the end of the comparison with the reference."""
    page.set_viewport_size({"width": _SIZE[0], "height": _find_height(page)})
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _find_height(page: Page) -> int:
    return int(page.evaluate("Math.ceil(document.getElementById('slices-section').getBoundingClientRect().bottom) + 8"))


def main(destination: Path) -> None:
    """Serve the reference model for a moment and look at it."""
    with (
        tempfile.TemporaryDirectory() as state,
        serve_worker(bundle_dir=_BUNDLE, state_dir=Path(state)) as (address, _),
        open_browser() as browser,
    ):
        visit = Visit(browser, size=_SIZE)
        destination.write_bytes(take_picture(visit.open(f"{address}/?{_ASKED}")))
        visit.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
