import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cohort.store import build_cohort, save_cohort
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import TrainingCohort
from registry.policy import Judged, load_policy
from spect.conditions import CONDITIONS
from spect.errors import CohortError, ConfigurationError
from spect.slices import resample_to_matrix
from tests.support.tiny_bundle import TRAINING_FINGERPRINT
from tests.support.toy_slices import toy_cohort
from training.validation.panel import validate_model
from training.validation.report import render_report
from training.validation.samples import FULL, QUICK, SliceNumbers, resample_to_model, select_reference
from training.validation.subject import check_report_place, open_subject, validate_subject


@pytest.fixture(scope="module")
def test_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cohort") / "test"
    save_cohort(toy_cohort(12, seed=21), directory)
    return directory


@pytest.fixture(scope="module")
def validated(taught_run, test_directory):
    with open_subject(str(taught_run.path), None) as subject:
        validation, gates = validate_subject(subject, test_directory, numbers=SliceNumbers(synthetic=24), workers=1)
        return validation, gates, subject.generator.manifest


def select(cohort, **changes):
    arguments = {"trained_on": describe_training(), "training": None, "numbers": FULL, "seed": 0}
    return select_reference(cohort, **{**arguments, **changes})


def describe_training(fingerprint=TRAINING_FINGERPRINT):
    """What the manifest of a model trained on toy patients says of them."""
    return TrainingCohort(
        fingerprint=fingerprint,
        source="simulated",
        simulator_version="toy",
        slices=24,
        intensity_unit="mL/100g/min",
        intensity_scaling="whole-cohort",
    )


def test_the_panel_holds_a_number_for_every_gate_that_measures(validated) -> None:
    validation, gates, _ = validated
    for rule in load_policy().gates:
        if rule.judged in {Judged.DIGESTS, Judged.CHAMPION}:
            continue
        for cell in rule.cells:
            measured = validation.panel.find(rule.metric, cell)
            assert measured is not None, (rule.metric, cell)
            assert measured.value is not None
            if rule.judged in {Judged.INTERVAL, Judged.LOWER_BOUND}:
                assert measured.low <= measured.value <= measured.high
    assert not [row for row in gates.gates if "not measured" in row.note]


def test_every_measurement_states_its_null_and_most_their_floor(validated) -> None:
    measured = [m for m in validated[0].panel.measurements if m.metric != "onnx_parity"]
    assert all(m.null is not None and m.floor is not None for m in measured)
    assert all(m.slices_synthetic > 0 and m.slices_reference > 0 for m in measured)


def test_the_panel_is_bound_to_graph_cohort_and_training_cohort(validated, taught_run) -> None:
    validation, _, manifest = validated
    assert validation.panel.onnx_sha256 == manifest.files["generator.onnx"]
    assert validation.panel.training_fingerprint == taught_run.record().cohort_fingerprint
    assert validation.panel.cohort_source == "simulated"
    assert len(validation.comparison.synthetic) == 24 * len(CONDITIONS)


def test_a_bundle_without_its_training_cohort_has_memorisation_not_measured_and_its_gate_fails(tiny_bundle) -> None:
    cohort = toy_cohort(12, seed=22)
    validation = validate_model(
        ReleasedGenerator(tiny_bundle),
        build_cohort(cohort.arrays(), replace(cohort.description, intensity_unit="counts")),  # the tiny bundle's
        training=None,
        git_commit="0",
        numbers=SliceNumbers(synthetic=16),
        seed=1,
        workers=1,
    )
    measured = validation.panel.find("memorisation_share", "all")
    assert measured.value is None
    assert "training cohort" in measured.note


def test_the_report_is_one_file_that_says_simulated_beside_every_table(validated) -> None:
    html = render_report(*[validated[0], validated[2], validated[1]])
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert all("simulated cohort" in heading for heading in headings if "Limits" not in heading and heading != "Slices")
    assert "&lt; 0.0001" in html
    assert "by construction" in html
    assert html.count("data:image/") == 12


def test_the_training_cohort_itself_is_refused(taught_run) -> None:
    cohort = toy_cohort(3, seed=23, split="train", name="paper")
    with pytest.raises(CohortError, match="trained on"):
        select(cohort, trained_on=describe_training(cohort.description.fingerprint))


def test_a_cohort_of_the_same_preset_and_seed_is_refused_though_its_pixels_differ() -> None:
    training = toy_cohort(3, seed=24, split="train", name="paper")
    counts = resample_to_matrix(training.counts, 32)
    other = build_cohort(
        {**training.arrays(), "counts": counts}, replace(training.description, pixel_spacing_mm=8.0, fingerprint="")
    )
    with pytest.raises(CohortError, match="preset paper of seed 24"):
        select(other, training=training)


def test_slices_that_were_trained_on_are_refused_under_any_name() -> None:
    training = toy_cohort(3, seed=25, split="train", name="paper")
    arrays = {**training.arrays(), "split": np.full(len(training), "test")}
    renamed = build_cohort(arrays, replace(training.description, name="mine", seed=99))
    with pytest.raises(CohortError, match="in the training cohort"):
        select(renamed, training=training)


def test_the_test_split_of_the_training_cohort_is_what_it_is_for() -> None:
    cohort = toy_cohort(6, seed=26, split="train", name="imported", source="acquired")
    arrays = {**cohort.arrays(), "split": np.where(np.arange(len(cohort)) % 3 == 0, "test", "train")}
    cohort = build_cohort(arrays, cohort.description)
    chosen = select(cohort, training=cohort, trained_on=describe_training(cohort.description.fingerprint))
    assert set(chosen.split) == {"test"}


def test_a_cohort_of_matrix_128_is_compared_at_the_models_matrix(tiny_bundle) -> None:
    cohort = toy_cohort(2, seed=27)
    fine = build_cohort(
        {**cohort.arrays(), "counts": resample_to_matrix(cohort.counts, 128)},
        replace(cohort.description, pixel_spacing_mm=2.0),
    )
    assert resample_to_model(fine, tiny_bundle.manifest).shape[1:] == (64, 64)


def test_a_cohort_of_another_field_is_refused(tiny_bundle) -> None:
    cohort = toy_cohort(2, seed=28)
    narrow = build_cohort(cohort.arrays(), replace(cohort.description, pixel_spacing_mm=3.0))
    with pytest.raises(CohortError, match="192 mm, the model's 256 mm"):
        resample_to_model(narrow, tiny_bundle.manifest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"intensity_unit": "Bq/ml"}, "intensity unit is Bq/ml, that of the model's training cohort mL/100g/min"),
        ({"intensity_scaling": "per-slice"}, "intensity scaling is per-slice, .* whole-cohort"),
    ],
)
def test_counts_of_another_unit_or_scaling_prove_nothing(tiny_bundle, change, words) -> None:
    cohort = toy_cohort(1, seed=30)
    other = build_cohort(cohort.arrays(), replace(cohort.description, **change))
    with pytest.raises(CohortError, match=words):
        select(other)
    with pytest.raises(CohortError, match="intensity"):
        validate_model(ReleasedGenerator(tiny_bundle), other, training=None, git_commit="0")


def test_a_quick_validation_thins_the_reference_and_says_so() -> None:
    cohort = toy_cohort(5, seed=29)
    thinned = select(cohort, numbers=SliceNumbers(synthetic=500, reference=3))
    assert [int((thinned.condition_index == i).sum()) for i in range(8)] == [3] * 8
    assert QUICK.is_quick
    assert SliceNumbers(synthetic=24).is_quick
    assert not FULL.is_quick


def test_another_training_cohort_than_the_models_is_refused(tiny_bundle, test_directory) -> None:
    with (
        pytest.raises(CohortError, match="the model was trained on"),
        open_subject(str(tiny_bundle.path), test_directory),
    ):
        pass


def test_a_report_is_never_written_into_the_bundle(tiny_bundle) -> None:
    with open_subject(str(tiny_bundle.path), None) as subject:
        with pytest.raises(ConfigurationError, match="beside it"):
            check_report_place(tiny_bundle.path / "figures" / "report.html", subject)
        check_report_place(tiny_bundle.path.parent / "report.html", subject)


def test_the_panel_is_plain_json(validated) -> None:
    panel = json.loads(validated[0].panel.model_dump_json())
    assert panel["quick"] is True
    assert len({(m["metric"], m["cell"]) for m in panel["measurements"]}) == len(panel["measurements"])
