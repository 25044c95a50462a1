from collections.abc import Callable

import pytest

from cohort.simulator.anatomy import Template, load_template
from cohort.simulator.anatomy_figure import draw_nuclei, draw_territories


@pytest.mark.parametrize("draw", [draw_nuclei, draw_territories])
def test_figures_of_the_anatomy_are_png_marked_as_simulated(draw: Callable[[Template], bytes]) -> None:
    picture = draw(load_template())
    assert picture.startswith(b"\x89PNG")
    assert b"SIMULATED" in picture
