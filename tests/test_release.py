"""The version is the same everywhere, and what is declared is what CI tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import diffeo

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def releases() -> list[tuple[str, str]]:
    """Version and date of the changelog's sections, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    matches = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", h) for h in headings[1:]]
    assert all(matches), headings
    return [(match[1], match[2]) for match in matches if match]


def test_changelog_ends_at_this_version() -> None:
    assert releases()[0][0] == diffeo.__version__
    assert releases() == sorted(releases(), key=lambda release: release[1], reverse=True)


def test_changelog_links_every_section() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    for name in ("Unreleased", *(version for version, _ in releases())):
        assert re.search(rf"^\[{re.escape(name)}\]: https://", text, flags=re.MULTILINE), name


def test_citation_has_this_version_and_its_date() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^([a-z-]+): (\S+)$", text, flags=re.MULTILINE))
    assert (fields["version"], fields["date-released"]) == releases()[0]


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]


def test_ci_tests_the_versions_of_python_that_are_declared() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    matrix = re.search(r"^ +python: \[(.+)\]$", CI, flags=re.MULTILINE)
    assert matrix
    assert re.findall(r"3\.\d+", matrix[1]) == declared
    assert PROJECT["requires-python"] == f">={declared[0]}"


def test_ci_tests_the_oldest_torch_that_is_declared() -> None:
    oldest = re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest
    assert f'torch: ["{oldest[1]}", newest]' in CI


def test_every_dependency_has_a_tested_version() -> None:
    """constraints.txt pins what pyproject.toml asks for, optional packages included."""
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    asked = {
        re.split(r"[\[<>=~!]", line)[0].lower()
        for line in [*PROJECT["dependencies"], *optional]
        if not line.startswith("diffeo[")
    }
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert asked <= pinned
