import json

import numpy as np
import pytest

from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.density import GaussianMixture, QuantityDensity, Targets
from spect.errors import ConfigurationError, RequestError

NAMES = ("mean_counts", "log_left_right_ratio", "score_1")
COR_UNILATERAL = Condition(Level.CORTEX, Pattern.UNILATERAL)


def mixture(seed: int = 0, components: int = 2, size: int = 3) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.normal(0, 0.4, (components, size, size)))
    factors[:, range(size), range(size)] = rng.uniform(0.4, 1, (components, size))
    return GaussianMixture(
        weights=np.full(components, 1 / components), means=rng.normal(0, 1, (components, size)), factors=factors
    )


def density() -> QuantityDensity:
    return QuantityDensity(
        names=NAMES,
        center=np.array([40.0, 0.0, 0.0]),
        scale=np.array([5.0, 0.1, 1.0]),
        mixtures={condition: mixture(condition.index) for condition in CONDITIONS},
        support={
            condition: {"mean_counts": (25.0, 55.0), "log_left_right_ratio": (-0.25, 0.25)} for condition in CONDITIONS
        },
    )


def log_density(of: GaussianMixture, points: np.ndarray) -> np.ndarray:
    terms = []
    for weight, mean, factor in zip(of.weights, of.means, of.factors, strict=True):
        white = np.linalg.solve(factor, (points - mean).T)
        terms.append(np.log(weight) - 0.5 * (white**2).sum(axis=0) - np.log(np.abs(np.diag(factor))).sum())
    return np.logaddexp.reduce(terms, axis=0)


def test_conditioning_agrees_with_the_joint_density_on_a_grid() -> None:
    whole, position, value = mixture(), 1, 0.7
    conditioned = whole.given([position], np.array([value]))
    axis = np.linspace(-8, 8, 321)
    first, third = np.meshgrid(axis, axis, indexing="ij")
    points = np.stack([first.ravel(), np.full(first.size, value), third.ravel()], axis=1)
    weight = np.exp(log_density(whole, points))
    weight /= weight.sum()
    mean = weight @ points
    covariance = (points - mean).T @ ((points - mean) * weight[:, None])

    analytic = conditioned.weights @ conditioned.means
    spread = conditioned.means - analytic
    within = conditioned.factors @ conditioned.factors.transpose(0, 2, 1)
    analytic_covariance = np.einsum("k,kij->ij", conditioned.weights, within + spread[:, :, None] * spread[:, None, :])

    np.testing.assert_allclose(analytic, mean, atol=1e-4)
    np.testing.assert_allclose(analytic_covariance, covariance, atol=1e-3)


def test_conditioning_agrees_with_selecting_draws() -> None:
    whole, value = mixture(3), 0.4
    rng = np.random.default_rng(0)
    draws = np.array([whole.draw(rng) for _ in range(60_000)])
    near = draws[np.abs(draws[:, 0] - value) < 0.05]

    conditioned = whole.given([0], np.array([value]))

    np.testing.assert_allclose(conditioned.weights @ conditioned.means, near.mean(axis=0), atol=0.05)


def test_conditioning_on_everything_leaves_nothing_to_chance() -> None:
    values = np.array([0.1, 0.2, 0.3])

    drawn = mixture().given([0, 1, 2], values).draw(np.random.default_rng(0))

    np.testing.assert_array_equal(drawn, values)


def test_draws_have_the_mixtures_mean() -> None:
    whole, rng = mixture(2), np.random.default_rng(1)

    draws = np.array([whole.draw(rng) for _ in range(20_000)])

    np.testing.assert_allclose(draws.mean(axis=0), whole.weights @ whole.means, atol=0.03)


@pytest.mark.parametrize("targets", [{"mean_counts": 44.4}, {"left_right_ratio": 0.87}])
@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_a_target_is_hit_exactly(condition: Condition, targets: dict[str, float]) -> None:
    asked, whole = Targets(**targets), density()

    drawn = whole.draw(condition, whole.mixture(condition, asked), np.random.default_rng(0))

    raw = dict(zip(NAMES, drawn * whole.scale + whole.center, strict=True))
    for name, value in asked.as_quantities().items():
        assert raw[name] == pytest.approx(value, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("edge", [25.0, 55.0])
def test_the_edge_of_the_support_can_be_asked_for(edge: float) -> None:
    whole = density()

    drawn = whole.draw(
        COR_UNILATERAL, whole.mixture(COR_UNILATERAL, Targets(mean_counts=edge)), np.random.default_rng(0)
    )

    assert drawn[0] * 5 + 40 == pytest.approx(edge)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"mean_counts": 56.0}, r"mean_counts 56 .*COR/unilateral; ask between 25 and 55"),
        ({"mean_counts": float("nan")}, "mean_counts nan"),
        ({"left_right_ratio": 2.0}, r"left_right_ratio 2 .*between 0\.7788 and 1\.284"),
        ({"left_right_ratio": 0.0}, "must be positive, got 0"),
        ({"left_right_ratio": -1.0}, "must be positive"),
        ({"left_right_ratio": float("nan")}, "must be positive, got nan"),
        ({"left_right_ratio": float("inf")}, "left_right_ratio inf"),
    ],
)
def test_a_target_outside_the_support_is_refused(targets: dict[str, float], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        density().mixture(COR_UNILATERAL, Targets(**targets))


def test_draws_stay_inside_the_support() -> None:
    whole, rng = density(), np.random.default_rng(0)

    draws = np.array([whole.draw(COR_UNILATERAL, whole.mixtures[COR_UNILATERAL], rng) for _ in range(500)])

    raw = draws * whole.scale + whole.center
    assert raw[:, 0].min() >= 25 - 1e-9
    assert raw[:, 0].max() <= 55 + 1e-9
    assert np.abs(raw[:, 1]).max() <= 0.25 + 1e-9


def test_a_density_survives_json_bit_for_bit() -> None:
    whole = density()

    read = QuantityDensity.from_dict(json.loads(json.dumps(whole.to_dict())))

    assert read.to_dict() == whole.to_dict()
    for condition in CONDITIONS:
        ours, theirs = (d.draw(condition, d.mixtures[condition], np.random.default_rng(5)) for d in (whole, read))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("field", ["names", "center", "scale", "conditions"])
def test_a_density_with_a_field_missing_is_refused(field: str) -> None:
    fields = density().to_dict()
    del fields[field]

    with pytest.raises(ConfigurationError, match="cannot be read"):
        QuantityDensity.from_dict(fields)


def test_a_density_of_some_conditions_knows_which() -> None:
    fields = density().to_dict()
    del fields["conditions"]["COR/normal"]

    read = QuantityDensity.from_dict(fields)

    assert read.conditions == tuple(condition for condition in CONDITIONS if str(condition) != "COR/normal")


@pytest.mark.parametrize("conditions", [{}, {"CER/bilateral": {}}])
def test_a_density_of_no_condition_or_an_unknown_one_is_refused(conditions: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="a density needs conditions among CER/normal"):
        QuantityDensity.from_dict(density().to_dict() | {"conditions": conditions})


@pytest.mark.parametrize("size", [2, 4])
def test_a_density_whose_parts_disagree_in_size_is_refused(size: int) -> None:
    fields = density().to_dict()
    fields["center"] = [0.0] * size

    with pytest.raises(ConfigurationError):
        QuantityDensity.from_dict(fields)


def test_a_support_without_a_quantity_is_refused() -> None:
    fields = density().to_dict()
    del fields["conditions"]["COR/normal"]["support"]["mean_counts"]

    with pytest.raises(ConfigurationError):
        QuantityDensity.from_dict(fields)


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="sum to 1"):
        GaussianMixture(weights=np.array([0.5, 0.6]), means=np.zeros((2, 1)), factors=np.ones((2, 1, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="finite"):
        GaussianMixture(weights=np.ones(1), means=np.full((1, 1), value), factors=np.ones((1, 1, 1)))
