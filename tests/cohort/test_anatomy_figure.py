from collections.abc import Callable

import pytest

from cohort.anatomy import Template, load_template
from cohort.anatomy_figure import draw_nuclei, draw_territories


@pytest.mark.parametrize("draw", [draw_nuclei, draw_territories])
def test_figures_of_the_anatomy_are_png_marked_as_simulated(draw: Callable[[Template], bytes]) -> None:
    picture = draw(load_template())
    assert picture.startswith(b"\x89PNG")
    assert b"SIMULATED" in picture
