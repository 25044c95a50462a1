"""The command line as a whole: one line for what is wrong, an exit code that says whose fault, a quick --help."""

import subprocess
import sys

import pytest

import synspect.cli
from spect.errors import RegistryError, RequestError, SynspectError

COMMANDS = ("demo", "cohort", "train", "validate", "release", "registry", "build", "serve", "generate", "drift")


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["synspect", *arguments])
    with pytest.raises(SystemExit) as stop:
        synspect.cli.main()
    return int(stop.value.code or 0)


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in shown] == []


@pytest.mark.parametrize("command", [[], ["serve"], ["drift"], ["drift", "check"], ["registry", "list"], ["demo"]])
def test_a_flag_in_help_is_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert _main(monkeypatch, *command, "--help") == 0
    shown = capsys.readouterr().out
    assert "--help" in shown
    assert "<bool>" not in shown


def test_help_imports_no_room_that_takes_seconds() -> None:
    heavy = "torch", "mlflow", "bentoml", "onnxruntime", "nilearn", "matplotlib", "numpy"
    code = f"import sys, synspect.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (RequestError("count must be 1 to 4096, got 0;\n ask for [more]"), 2),
        (RegistryError("MLflow does not answer; start it"), 1),
        (OSError(28, "No space left on device", "/full/batch.npz"), 1),
    ],
)
def test_an_error_is_one_line_and_its_code_says_whose_it_is(
    error: SynspectError | OSError,
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(synspect.cli, "app", fail)
    assert _main(monkeypatch) == exit_code
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith("error: ")
    assert ("ask for [more]" in shown) == isinstance(error, RequestError)
