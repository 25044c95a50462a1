"""The parts of a training step: they are parts of the step, and what is left has a name."""

from pathlib import Path

import pytest
from PIL import Image
from step.loops import OurLoop, PlainLoop
from step.parts import OUTSIDE, REST, draw, time_parts

from tests.support.tiny_training import TINY, tiny_prepared


def test_the_parts_of_a_step_and_what_is_left_are_the_whole_step() -> None:
    ours = OurLoop(tiny_prepared(), TINY, "32-true")

    parts = time_parts(ours, 3.0)

    assert sum(parts.values()) == pytest.approx(3.0)
    assert set(OUTSIDE) < set(parts)
    assert all(seconds > 0 for name, seconds in parts.items() if name != REST)


def test_timing_the_parts_leaves_a_run_that_can_go_on() -> None:
    ours = OurLoop(tiny_prepared(), TINY, "32-true")
    time_parts(ours, 1.0)

    ours.step()

    assert ours.seen == TINY.batch_size


def test_the_plain_loop_learns_what_the_product_learns() -> None:
    """Its first step moves every network, as ours does."""
    plain = PlainLoop(tiny_prepared(), TINY)
    before = [parameter.clone() for parameter in (*plain.generator.parameters(), *plain.discriminator.parameters())]

    plain.step()

    after = [*plain.generator.parameters(), *plain.discriminator.parameters()]
    moved = sum(bool((new != old).any()) for new, old in zip(after, before, strict=True))
    assert moved > 0.9 * len(before)


def test_the_picture_names_the_machine_and_every_part(tmp_path: Path) -> None:
    parts = {"generator": 0.2, REST: -0.01}

    draw(parts, {"ours": [20.0, 21.0], "plain": [10.0, 11.0]}, title="a machine", path=tmp_path / "steps.png")

    with Image.open(tmp_path / "steps.png") as image:
        assert image.size == (1650, 600)
