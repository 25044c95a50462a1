"""A model that was trained on an older simulator keeps saying so."""

from dataclasses import replace

import pytest

from cohort.store import save_cohort
from registry.bundle.panel import Panel
from tests.support.toy_slices import toy_cohort
from training.validation.report import render_report
from training.validation.samples import SliceNumbers
from training.validation.simulators import compare_simulators, describe_source
from training.validation.subject import open_subject, validate_subject


@pytest.fixture(scope="module")
def validated(taught_run, tmp_path_factory):
    """The toy model, trained on simulator "toy", against a cohort of a later one."""
    newer = toy_cohort(12, seed=21)
    newer = replace(newer, description=replace(newer.description, simulator_version="toy 2"))
    directory = tmp_path_factory.mktemp("cohort") / "newer"
    save_cohort(newer, directory)
    with open_subject(str(taught_run.path), None) as subject:
        validation, gates = validate_subject(subject, directory, numbers=SliceNumbers(synthetic=24), workers=1)
        return validation, gates, subject.generator.manifest


def test_the_panel_carries_the_simulator_of_its_cohort(validated) -> None:
    assert validated[0].panel.cohort_simulator_version == "toy 2"


def test_an_older_simulator_is_named_beside_the_newer_in_one_sentence(validated) -> None:
    validation, gates, manifest = validated
    sentence = compare_simulators(manifest, validation.panel)
    assert sentence is not None
    assert "simulator toy and is compared with slices of simulator toy 2:" in sentence
    assert sentence in render_report(validation, manifest, gates)


def test_one_simulator_on_both_sides_needs_no_word(validated) -> None:
    validation, gates, manifest = validated
    same = validation.panel.model_copy(update={"cohort_simulator_version": "toy"})
    assert compare_simulators(manifest, same) is None
    assert "part of every difference" not in render_report(replace(validation, panel=same), manifest, gates)


def test_a_panel_from_before_simulators_were_named_still_loads(validated) -> None:
    old = validated[0].panel.model_dump()
    del old["cohort_simulator_version"]
    assert Panel.model_validate(old).cohort_simulator_version is None


def test_a_source_names_its_simulator_where_it_has_one() -> None:
    assert describe_source("simulated", "2") == "simulated (simulator 2)"
    assert describe_source("acquired", None) == "acquired"
