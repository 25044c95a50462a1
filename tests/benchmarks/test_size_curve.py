"""The curve of sizes, from studies made by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import size_curve
from curve.picture import draw_curve
from curve.points import count_released_needs, read_points
from curve.table import tabulate
from study.plan import Scale
from study.results import ArmResult

from spect.errors import ConfigurationError
from tests.support.study_results import RECORD, build_arm, build_result, write_study
from tests.support.tiny_bundle import tiny_panel
from training.presets import PRESETS

PATTERNS = ("normal", "unilateral", "bilateral")
NOT_MEASURABLE = {"outcome": "not measurable", "reason": "no outline in 3 slices"}
MakeStudy = Callable[..., Path]


def _measured(seed: int = 0, auc: tuple[float, float, float] = (0.6, 0.7, 0.8)) -> ArmResult:
    changes = {("c2st_auc_inside_outline", p): _beside(v, 0.5, 0.9) for p, v in zip(PATTERNS, auc, strict=True)}
    for pattern, ratio, spread in zip(PATTERNS, (1.01, 0.93, 1.05), (1.2, 0.5, 1.3), strict=True):
        changes["mean_counts_ratio", pattern] = _beside(ratio, 1.0, 0.98)
        changes["log_left_right_ratio_sd_ratio", pattern] = _beside(spread, 1.0, 2.5)
    changes["c2st_auc_beyond_conditioned", "all"] = _beside(0.67, 0.49, 0.63)
    changes["principal_component_sd_ratio", "all"] = _beside(0.66, 0.99, 0.91)
    return build_result(build_arm(seed=seed), tiny_panel("0" * 64, changes))


def _beside(value: float, null: float, floor: float) -> dict[str, float]:
    return {"value": value, "null": null, "floor": floor}


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    def make(*results: ArmResult, matrix: int = 64, width: int = 2, images: int = 16_000, **changes: object) -> Path:
        scale = Scale(matrix=matrix, width=width, images=images)
        record = RECORD.model_copy(update={"scale": scale, **changes})
        return write_study(tmp_path / f"study{len(list(tmp_path.iterdir()))}", record, results)

    return make


def test_a_size_costs_what_the_reference_model_was_counted_at() -> None:
    reference = PRESETS["brain64"]

    needs = count_released_needs(Scale(matrix=reference.matrix, width=reference.width, images=16_000))

    assert needs.gigaflops == pytest.approx(0.270, abs=0.001), "docs/performance.md, the floor of a slice"
    assert needs.weight_mebibytes == pytest.approx(7.3, abs=0.05)


def test_a_point_says_mean_and_worst_of_its_panel_beside_real_and_gaussian(make_study: MakeStudy) -> None:
    (point,) = read_points([make_study(_measured())])

    numbers = point.seeds[0].numbers
    assert numbers is not None
    assert (numbers.auc_mean, numbers.auc_worst) == (pytest.approx(0.7), 0.8)
    assert numbers.mean_counts_deviation == pytest.approx(0.07), "0.93 is the farthest from 1"
    assert numbers.left_right_sd_ratio == 0.5, "a half lies farther from 1 than 1.3"
    assert point.null is not None
    assert point.floor is not None
    assert (point.null.auc_mean, point.floor.auc_mean) == (pytest.approx(0.5), pytest.approx(0.9))


def test_points_stand_in_the_order_of_their_operations_with_every_seed(make_study: MakeStudy) -> None:
    wide = make_study(_measured(0), _measured(1, auc=(0.5, 0.5, 0.5)), width=4)
    large, narrow = make_study(_measured(), matrix=128), make_study(_measured())

    points = read_points([wide, large, narrow])
    table = tabulate(points)

    assert points[0].name == "64 px, width 2"
    assert sorted(points, key=lambda point: point.gigaflops) == points
    assert "| 0.70; 0.50 | 0.80; 0.50 | 0.67; 0.67 | 0.66; 0.66 | 0.07; 0.07 | 0.50; 0.50 |" in table
    for matrix in (64, 128):
        assert table.count(f"| real against real, {matrix} px |") == table.count(f"| Gaussian, {matrix} px |") == 1


def test_what_could_not_be_measured_stands_in_the_table_and_not_in_the_picture(make_study: MakeStudy) -> None:
    failed = make_study(build_result(build_arm(), None, **NOT_MEASURABLE), width=1)
    partly = make_study(_measured(), build_result(build_arm(seed=1), None, **NOT_MEASURABLE))

    points = read_points([failed, partly])
    labels = [text.get_text() for text in draw_curve(points, PRESETS["brain64"]).axes[0].texts]

    failed_row, partly_row = tabulate(points).splitlines()[2:4]
    assert failed_row.startswith("| 64 px, width 1 | 16,000 |")
    assert "| not measurable |" in failed_row
    assert "| 0.70; not measurable |" in partly_row
    assert labels == ["64 px, width 2 (1 of 2 seeds)"]


def test_the_size_of_the_reference_model_is_marked_and_no_other(make_study: MakeStudy) -> None:
    points = read_points([make_study(_measured()), make_study(_measured(), width=4)])

    figure = draw_curve(points, PRESETS["brain64"].changed_by(["width=4"]))

    weights = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert weights == {"64 px, width 2": "normal", "64 px, width 4": "bold"}


def test_the_command_writes_table_numbers_and_picture(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, numbers, picture = make_study(_measured()), tmp_path / "curve.json", tmp_path / "curve.png"

    assert size_curve.main([str(study), "--json", str(numbers), "--plot", str(picture)]) == 0

    assert "| 64 px, width 2 | 16,000 |" in capsys.readouterr().out
    assert json.loads(numbers.read_text())[0]["seeds"][0]["numbers"]["auc_worst"] == 0.8
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 8_000}, "has images seen 8000, .* has 16000"),
        ({"training_fingerprint": "another"}, "has training cohort another, .* has a"),
        ({"test_fingerprint": "another"}, "has test cohort another, .* has b"),
        ({"is_quick": True}, "has validation quick, .* has full"),
    ],
)
def test_studies_that_differ_in_more_than_their_size_are_refused(
    make_study: MakeStudy, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{words}: their panels cannot be compared"):
        read_points([make_study(_measured()), make_study(_measured(), width=4, **changes)])


def test_two_studies_of_one_size_are_refused(make_study: MakeStudy) -> None:
    with pytest.raises(ConfigurationError, match="are both 64 px, width 2; name one"):
        read_points([make_study(_measured()), make_study(_measured())])


def test_a_study_without_an_arm_of_ours_is_refused(make_study: MakeStudy) -> None:
    other = build_result(build_arm(configuration="paper"), tiny_panel("0" * 64))
    with pytest.raises(ConfigurationError, match="holds no measured arm A-ours; run it"):
        read_points([make_study(other)])


def test_studies_of_which_nothing_could_be_measured_are_refused(make_study: MakeStudy) -> None:
    with pytest.raises(ConfigurationError, match="no study holds a measured arm A-ours"):
        read_points([make_study(build_result(build_arm(), None, **NOT_MEASURABLE))])


def test_a_directory_that_is_no_study_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert size_curve.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "study.json cannot be read: No such file or directory; name the directory of a study" in error
    assert error.count("\n") == 1
