import numpy as np
import pytest

from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.density import GaussianMixture, QuantityDensity, Targets
from spect.errors import RequestError
from spect.sampling import MAX_SEED, GeneratorInputs, check_seed, draw_inputs

COR_UNILATERAL = Condition(Level.CORTEX, Pattern.UNILATERAL)


def density() -> QuantityDensity:
    means = np.array([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.5]])
    whole = GaussianMixture(weights=np.array([0.4, 0.6]), means=means, factors=np.stack([np.eye(3), 0.5 * np.eye(3)]))
    return QuantityDensity(
        names=("mean_counts", "log_left_right_ratio", "score_1"),
        center=np.array([40.0, 0.0, 0.0]),
        scale=np.array([5.0, 0.1, 1.0]),
        mixtures=dict.fromkeys(CONDITIONS, whole),
        support={c: {"mean_counts": (20.0, 60.0), "log_left_right_ratio": (-0.4, 0.4)} for c in CONDITIONS},
    )


def draw(
    *,
    condition: Condition = COR_UNILATERAL,
    seed: int = 7,
    start: int = 0,
    count: int = 1,
    targets: Targets | None = None,
) -> GeneratorInputs:
    return draw_inputs(
        density(), condition=condition, seed=seed, start=start, count=count, latent_size=16, targets=targets
    )


def assert_equal(ours: GeneratorInputs, theirs: GeneratorInputs) -> None:
    np.testing.assert_array_equal(ours.latents, theirs.latents)
    np.testing.assert_array_equal(ours.quantities, theirs.quantities)
    np.testing.assert_array_equal(ours.condition, theirs.condition)


@pytest.mark.parametrize("targets", [None, Targets(left_right_ratio=0.9)])
def test_one_call_of_64_equals_64_calls_of_one(targets: Targets | None) -> None:
    singly = GeneratorInputs.concatenate([draw(start=index, targets=targets) for index in range(64)])

    assert_equal(draw(count=64, targets=targets), singly)


def test_inputs_can_be_cut_and_joined() -> None:
    inputs = draw(count=8)

    assert_equal(GeneratorInputs.concatenate([inputs[:3], inputs[3:]]), inputs)
    assert len(inputs[2:5]) == 3


def test_neighbouring_seeds_share_no_slice() -> None:
    seven, eight = draw(seed=7, count=64).latents, draw(seed=8, count=64).latents

    assert not (seven[:, None] == eight[None]).all(axis=2).any()


def test_conditions_share_no_slice() -> None:
    drawn = np.concatenate([draw(condition=condition, count=16).latents for condition in CONDITIONS])

    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_the_network_gets_its_own_types() -> None:
    inputs = draw(count=5)

    assert (inputs.latents.dtype, inputs.latents.shape) == (np.float32, (5, 16))
    assert (inputs.quantities.dtype, inputs.quantities.shape) == (np.float32, (5, 3))
    assert inputs.condition.tolist() == [COR_UNILATERAL.index] * 5
    assert inputs.condition.dtype == np.int64


def test_latents_are_standard_normal() -> None:
    latents = draw(count=4000).latents

    assert abs(latents.mean()) < 0.02
    assert latents.std() == pytest.approx(1, abs=0.02)


def test_a_target_is_asked_of_every_slice() -> None:
    quantities = draw(count=32, targets=Targets(mean_counts=44.0, left_right_ratio=0.9)).quantities

    np.testing.assert_allclose(quantities[:, 0], 0.8, rtol=1e-6)
    np.testing.assert_allclose(quantities[:, 1], np.log(0.9) / 0.1, rtol=1e-6)
    assert quantities[:, 2].std() > 0.1


def test_a_target_outside_the_support_is_refused() -> None:
    with pytest.raises(RequestError, match="mean_counts 70"):
        draw(targets=Targets(mean_counts=70.0))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.5, "7", None, True])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(RequestError, match="seed must be an integer from 0 to 9007199254740991"):
        check_seed(seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, MAX_SEED, np.int64(12)])
def test_the_first_and_the_last_seed_draw(seed: int) -> None:
    assert len(draw(seed=seed)) == 1


@pytest.mark.parametrize(("count", "start"), [(0, 0), (-1, 0), (1, -1), (2, MAX_SEED)])
def test_a_count_or_start_that_is_none_is_refused(count: int, start: int) -> None:
    with pytest.raises(RequestError, match="count must be at least 1 and start at least 0"):
        draw(count=count, start=start)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 — the one that must not be touched

    draw(count=4)

    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 — as above
