"""What is printed is what was said: no name or path is taken for Rich's markup, and nothing moves unwatched."""

import sys
from pathlib import Path

import pytest
from rich.table import Table

from cohort.store import is_cohort, save_cohort
from synspect import cli
from synspect.screen import open_progress, open_screen, words
from tests.support.toy_slices import toy_cohort

STRANGE = "m[/bold] x[red]y :smile:"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["synspect", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_text_cells_and_titles_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=STRANGE)
    table.add_column(STRANGE, no_wrap=True)
    table.add_row(STRANGE)
    screen = open_screen()
    screen.print(STRANGE)
    screen.print(table)
    assert capsys.readouterr().out.count(STRANGE) == 4


def test_a_progress_bar_shows_its_words_as_they_are_and_nothing_where_nobody_watches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_progress() as bar:
        task = bar.add_task(STRANGE, total=2)
        bar.advance(task)
        with pytest.raises(RuntimeError), open_progress():
            raise RuntimeError
    assert capsys.readouterr().err == ""
    assert words("{task.description}").render(bar.tasks[0]).plain == STRANGE


def test_a_cohort_in_a_folder_of_any_name_is_made_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--preset", "test", "--patients", "8", "--matrix", "64", "--workers", "1"]
    assert run(monkeypatch, "cohort", "simulate", "m[/bold]", *asked) == 0
    told = capsys.readouterr()
    assert told.out.startswith("8 slices of 8 patients in m[/bold]: CER/normal 1, ")
    assert told.out.count("\n") == 1
    assert told.err == ""
    assert run(monkeypatch, "cohort", "describe", "m[/bold]", "--out", "o[/b][red]x") == 0
    assert "wrote o[/b][red]x/contact-sheet.png\n" in capsys.readouterr().out
    assert len(list(Path("o[/b][red]x").iterdir())) == 4


def test_an_error_of_a_strange_path_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_cohort(toy_cohort(2, seed=1), tmp_path / "c")
    for arguments in (["cohort", "describe", STRANGE], ["drift", "check", STRANGE]):
        assert run(monkeypatch, *arguments) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert STRANGE in told.err
    assert is_cohort(tmp_path / "c")
