"""What pydantic finds wrong is said in a user's words: where, what is wanted, what was got."""

import json

import pytest
from pydantic import ValidationError

from registry.bundle.panel import Panel
from spect.faults import describe_fault
from tests.support.tiny_bundle import tiny_panel

PANEL = json.loads(tiny_panel("a" * 64).model_dump_json())


def _with(**changes: object) -> str:
    return json.dumps({**PANEL, **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON (EOF while parsing a value at line 1 column 0)"),
        ("[]", "it must be an object, got []"),
        ("{}", "onnx_sha256 is missing"),
        (_with(schema_version=2), "schema_version must be 1, got 2"),
        (_with(colour="red"), "colour is unknown here"),
        (_with(seed="seven"), "seed must be a valid integer, got 'seven'"),
        (
            _with(measurements=[{"metric": "m", "cell": "all", "value": "x" * 99}]),
            "measurements.0.value must be a valid",
        ),
        (_with(seed=None), "seed must be a valid integer, got null"),
        (_with(cohort_source=True), "cohort_source must be 'acquired' or 'simulated', got true"),
        (_with(cohort_source="drawn"), "cohort_source must be 'acquired' or 'simulated', got 'drawn'"),
    ],
)
def test_the_first_fault_of_a_panel_is_one_sentence_without_pydantics_words(text: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Panel.model_validate_json(text)

    said = describe_fault(caught.value)
    assert said.startswith(words)
    assert len(said) < 140
    assert not [word for word in ("Input", "Field", "pydantic", "validation", "\n") if word in said]
