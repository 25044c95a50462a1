"""The report: what it says of a panel, what it shows of whose slices, and what the numbers of slices can show."""

import re
from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.panel import Measurement, Panel
from registry.policy import load_policy
from spect.conditions import CONDITIONS, Pattern
from spect.equivalence import MEAN_COUNTS_MARGIN, compute_power, log_margin
from tests.support.tiny_bundle import tiny_panel
from tests.support.toy_slices import honest_comparison, toy_cohort
from training.release.staging import judge_panel
from training.validation.findings import list_findings
from training.validation.panel import FULL_METRICS, QUICK_METRICS, validate_model
from training.validation.report import format_number, in_words, name_conditioned, render_report
from training.validation.sample_sizes import describe_sample_sizes, smallest_margin
from training.validation.samples import SliceNumbers
from training.validation.subject import open_subject


@pytest.fixture(scope="module")
def rendered(taught_run):
    """The taught run against other toy patients: validation, gates and manifest."""
    with open_subject(str(taught_run.path), None) as subject:
        validation = validate_model(
            subject.generator,
            toy_cohort(12, seed=41),
            training=subject.training,
            git_commit="0" * 40,
            numbers=SliceNumbers(synthetic=24),
            workers=1,
        )
        manifest = subject.generator.manifest
        gates = judge_panel(validation.panel, manifest, load_policy(), onnx_sha256=subject.generator.sha256)
        return validation, manifest, gates


@pytest.fixture(scope="module")
def html(rendered):
    return render_report(*rendered)


def test_the_report_says_what_is_asked_and_where_the_proof_lies(html) -> None:
    assert "asked for mean counts, log left/right ratio, 4 principal scores" in html
    assert "Agreement in these is by construction" in html
    assert "beyond the conditioned scores" in html


def test_the_report_names_the_band_that_gives_the_slices_away(rendered, html) -> None:
    measured = {m.metric: m.value for m in rendered[0].panel.measurements if "_band_" in m.metric}
    low, high = re.search(r"band_(\d+)_to_(\d+)", max(measured, key=measured.__getitem__)).groups()
    words = f"The band that gives them away is {int(low) / 100:g}–{int(high) / 100:g} cycles/cm"
    assert words in html


def test_every_section_of_a_report_is_filled_from_the_panel(rendered, html) -> None:
    for heading in ("beside the reference study", "Where defects lie", "Memorisation", "What these numbers can show"):
        assert heading in html
    images = re.findall(r'src="data:image/(png|svg\+xml);base64,[^"]{500,}"', html)
    assert images.count("svg+xml") == 9
    assert images.count("png") == 3  # synthetic, reference and nearest slices: the cohort is simulated
    assert html.count("<tr>") > len(rendered[0].panel.measurements)


def as_acquired(rendered):
    validation, manifest, gates = rendered
    panel = validation.panel.model_copy(update={"cohort_source": "acquired", "cohort_simulator_version": None})
    trained = manifest.training_cohort.model_copy(update={"source": "acquired", "simulator_version": None})
    return replace(validation, panel=panel), manifest.model_copy(update={"training_cohort": trained}), gates


def test_of_acquired_scans_no_single_slice_is_shown_and_the_report_says_so(rendered) -> None:
    html = render_report(*as_acquired(rendered))
    assert "no single scan is shown, only the mean of each condition" in html
    assert "no report shows a patient's slice" in html
    assert 'alt="Reference slices"' not in html
    assert 'alt="The nearest pairs' not in html
    assert 'alt="Mean slices"' in html
    assert "Nothing here is evidence about patients" not in html


def test_a_cohort_of_normal_slices_without_a_training_cohort_still_gives_a_report(rendered, taught_run) -> None:
    cohort = toy_cohort(12, seed=42)
    normal = cohort.take(np.flatnonzero(cohort.pattern == Pattern.NORMAL))
    with open_subject(str(taught_run.path), None) as subject:
        validation = validate_model(
            subject.generator, normal, training=None, git_commit="0", numbers=SliceNumbers(synthetic=16), workers=1
        )
    assert {m.cell for m in validation.panel.measurements if m.value is not None} <= {
        "all", "normal", "CER/normal", "BG/normal", "COR/normal",
    }  # fmt: skip
    html = render_report(validation, rendered[1], rendered[2])
    assert "it needs normal and diseased slices of one level" in html
    assert "Give it with --train" in html  # memorisation needs the training cohort


def test_a_panel_of_an_older_version_without_the_new_metrics_is_read_and_found_wanting() -> None:
    old = Panel.model_validate_json(tiny_panel("0" * 64).model_dump_json())
    answers = {finding.question: finding for finding in list_findings(old)}
    assert answers["Can a model learn from them?"].status == "missing"
    assert answers["Do defects lie, reach and deepen as they should?"].answer == "not measured"
    assert answers["Are mean counts and left/right ratio equivalent?"].status == "unclear"


def change_panel(changes):
    kept = [m for m in tiny_panel("0" * 64).measurements if (m.metric, m.cell) not in changes]
    made = [Measurement(metric=metric, cell=cell, **fields) for (metric, cell), fields in changes.items()]
    return tiny_panel("0" * 64).model_copy(update={"measurements": (*kept, *made)})


@pytest.mark.parametrize(
    ("changes", "question", "status"),
    [
        ({("c2st_auc_inside_outline", "normal"): {"value": 0.9}}, "Can a classifier tell them", "bad"),
        ({}, "Can a classifier tell them", "good"),
        ({("memorisation_share", "all"): {"value": 0.2, "low": 0.15}}, "Are training slices copied", "bad"),
        ({("memorisation_share", "all"): {"value": None}}, "Are training slices copied", "missing"),
        ({("principal_component_sd_ratio", "all"): {"value": 0.5}}, "Are they as varied", "bad"),
        (
            {
                ("synthetic_to_real_balanced_accuracy_ratio", "all"): {"value": 0.95},
                ("gain_of_synthetic_balanced_accuracy", "all"): {"value": 0.02, "low": 0.01, "high": 0.03},
            },
            "Can a model learn",
            "good",
        ),
        (
            {("c2st_auc_beyond_conditioned", "all"): {"value": 0.7, "null": 0.5, "floor": 0.6}},
            "And in what was not asked",
            "bad",
        ),
        ({("defect_extent_difference", "COR/normal"): {"value": 0.2, "verdict": "different"}}, "Do defects lie", "bad"),
    ],
)
def test_findings_follow_the_numbers(changes, question, status) -> None:
    (finding,) = [one for one in list_findings(change_panel(changes)) if one.question.startswith(question)]
    assert finding.status == status


def test_the_smallest_margin_is_the_one_with_80_percent_power() -> None:
    error = 0.013
    margin = smallest_margin(error)
    power = compute_power(error, replace(log_margin(MEAN_COUNTS_MARGIN), low=-margin, high=margin))
    assert power == pytest.approx(0.8, abs=1e-6)
    # SCIENCE.md section 3, in SD units with 500 synthetic slices: n = 248 0.23, 129 0.29, 66 0.38, 44 0.46.
    shown = [smallest_margin(np.sqrt(1 / n + 1 / 500)) for n in (248, 129, 66, 44)]
    assert shown == pytest.approx([0.23, 0.29, 0.38, 0.46], abs=0.006)


def test_sample_sizes_name_what_each_condition_can_show() -> None:
    sizes = describe_sample_sizes(honest_comparison())
    assert [size.condition for size in sizes] == list(CONDITIONS)
    assert all(size.patients == size.slices_reference == size.slices_synthetic == 40 for size in sizes)
    assert all(size.standard_deviations == pytest.approx(0.654, abs=0.01) for size in sizes)
    assert all(size.shows_mean_counts == (size.mean_counts_margin <= 0.05) for size in sizes)


def test_the_full_panel_holds_the_quick_one_and_the_slow_tests() -> None:
    assert FULL_METRICS[: len(QUICK_METRICS)] == QUICK_METRICS
    assert len(FULL_METRICS) == len(QUICK_METRICS) + 3


def test_numbers_and_names_are_written_for_people() -> None:
    assert [format_number(value) for value in (None, -0.01234, 0.0004, 1234.5)] == ["–", "−0.0123", "0.0004", "1234"]
    assert in_words("c2st_auc_inside_outline") == "C2ST AUC inside outline"
    assert in_words("log_left_right_ratio_sd_ratio") == "log left/right ratio SD ratio"
    assert name_conditioned(("mean_counts", "score_1", "score_2")) == "mean counts, 2 principal scores"
    assert name_conditioned(()) == "the condition alone"
