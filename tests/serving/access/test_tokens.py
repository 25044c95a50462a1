"""Files of tokens: what they may say, and that no error repeats what is in them."""

import hashlib
from pathlib import Path

import pytest

from serving.access.tokens import read_tokens
from serving.settings import load_settings
from spect.errors import ConfigurationError


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def table(name: str, token: str, **limits: int) -> str:
    lines = [
        f'name = "{name}"',
        f'sha256 = "{sha256_of(token)}"',
        *(f"{key} = {value}" for key, value in limits.items()),
    ]
    return "\n".join(["[[token]]", *lines, ""])


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_token_is_found_with_its_own_limits_and_no_other_is(tmp_path: Path) -> None:
    text = table("ward-7", "one", requests_per_minute=60) + table("training", "two", slices_per_day=100_000)
    tokens = read_tokens(file=written(tmp_path, text), sha256=None)
    ward, training = tokens.find("one"), tokens.find("two")
    assert ward is not None
    assert training is not None
    assert (ward.name, ward.requests_per_minute, ward.slices_per_day) == ("ward-7", 60, None)
    assert (training.name, training.requests_per_minute, training.slices_per_day) == ("training", None, 100_000)
    for wrong in ("", "One", "one ", "three", sha256_of("one"), "\udcff"):
        assert tokens.find(wrong) is None


def test_one_sha256_is_one_token_without_limits() -> None:
    token = read_tokens(file=None, sha256=sha256_of("one")).find("one")
    assert token is not None
    assert (token.requests_per_minute, token.slices_per_day) == (None, None)
    assert not read_tokens(file=None, sha256=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "token is missing"),
        ("token = []", "token must have at least 1 item;"),
        ("[[token", "is not TOML"),
        ('[[token]]\nname = "a"\nsha256 = "hunter2"', "token number 1 sha256 must be 64 characters of 0-9 and a-f"),
        (
            table("a", "x") + table("b", "y", requests_per_minute=0),
            "token number 2 requests_per_minute must be greater than or equal to 1;",
        ),
        (table("a b", "x"), "token number 1 name must be 1 to 40 letters, digits"),
        (table("a", "x", slices=3), "token number 1 slices is unknown here"),
        (table("a", "x") + table("a", "y"), "gives the name a to 2 tokens"),
        (table("a", "x") + table("b", "x"), "gives one sha256 to 2 tokens"),
    ],
)
def test_a_file_that_says_something_else_is_one_sentence_that_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv("SYNSPECT_TOKENS_FILE", str(written(tmp_path, text)))
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings()
    told = str(caught.value)
    assert told.startswith("SYNSPECT_TOKENS_FILE: ")
    assert "\n" not in told
    assert "hunter2" not in told
    assert sha256_of("x") not in told


def test_a_file_that_is_not_there_or_beside_the_one_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNSPECT_TOKENS_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="cannot be read \\(No such file"):
        load_settings()
    monkeypatch.setenv("SYNSPECT_TOKENS_FILE", str(written(tmp_path, table("a", "x"))))
    monkeypatch.setenv("SYNSPECT_TOKEN_SHA256", sha256_of("y"))
    with pytest.raises(ConfigurationError, match="are both set"):
        load_settings()


def test_the_sha256_of_the_one_token_is_asked_for_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNSPECT_TOKEN_SHA256", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value) == (
        "SYNSPECT_TOKEN_SHA256 must be 64 characters of 0-9 and a-f: the token's sha256 in hexadecimal; "
        "set it anew, or unset it"
    )
