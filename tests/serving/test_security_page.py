"""docs/security.md names the test of every threat, and an example that the service reads."""

import re
from pathlib import Path

from serving.access.tokens import read_tokens

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_threat_names_tests_that_exist() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.partition("## Threats")[2].splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 15
    existing = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    for threat, _, tests in rows:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, threat
        assert set(named) <= existing, threat


def test_the_file_of_tokens_that_it_shows_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(PAGE.partition("```toml\n")[2].partition("```")[0])
    token = read_tokens(file=path, sha256=None).find("foo")
    assert token is not None
    assert (token.name, token.requests_per_minute, token.slices_per_day) == ("ward-7", 60, 20000)
