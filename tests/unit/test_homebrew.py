"""The Homebrew formula, from a recorded answer of uv; its hosts are changed."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from tools import homebrew
from tools.release import RefusedError

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def packages() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((DATA / "pylock.toml").read_text())["packages"]
    return found


@pytest.fixture
def root(tmp_path: Path, packages: list[dict[str, Any]]) -> Path:
    """A clone whose lock has these packages, and its source archive."""
    (tmp_path / "requirements").mkdir()
    hashes = (f"{each['name']} --hash=sha256:{each['sdist']['hashes']['sha256']}\n" for each in packages)
    (tmp_path / "requirements/dev.txt").write_text("".join(hashes))
    project = '[project]\nversion = "0.2.0"\ndescription = "Gives roles."\nlicense = "Apache-2.0"\n'
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "rolekeeper-0.2.0.tar.gz").write_bytes(b"archive")
    return tmp_path


def formula(root: Path, packages: list[dict[str, Any]]) -> str:
    return homebrew.formula(root, packages, root / "rolekeeper-0.2.0.tar.gz", "https://example.org/team/rolekeeper")


def test_it_installs_the_release_with_each_locked_dependency_from_its_source_archive(
    root: Path, packages: list[dict[str, Any]]
) -> None:
    assert formula(root, packages) == (DATA / "rolekeeper.rb").read_text()


def test_an_archive_that_the_lock_has_not_is_refused(root: Path, packages: list[dict[str, Any]]) -> None:
    packages[1]["sdist"]["hashes"]["sha256"] = "0" * 64
    with pytest.raises(RefusedError, match=r"pyyaml-6\.0\.4\.tar\.gz isn't the archive that requirements/dev\.txt has"):
        formula(root, packages)


def test_a_package_without_a_source_archive_is_refused(root: Path, packages: list[dict[str, Any]]) -> None:
    del packages[0]["sdist"]
    with pytest.raises(RefusedError, match=r"click 8\.5\.1 has no source archive"):
        formula(root, packages)


def test_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert homebrew.main(str(DATA / "pylock.toml"), "rolekeeper-0.2.0.tar.gz", "") == 1
    assert "make formula REPOSITORY=https://" in capsys.readouterr().err
