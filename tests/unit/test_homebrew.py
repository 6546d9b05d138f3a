"""The Homebrew formula, from a recorded answer of uv; its hosts are changed."""

import re
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tools import homebrew
from tools.release import RefusedError

REPOSITORY = "https://example.org/team/rolekeeper"
PYLOCK = Path(__file__).parents[1] / "data/pylock.toml"


@pytest.fixture
def packages() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(PYLOCK.read_text())["packages"]
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


def test_it_installs_the_release_with_each_locked_dependency_from_its_source_archive(
    root: Path, packages: list[dict[str, Any]]
) -> None:
    text = homebrew.formula(root, packages, root / "rolekeeper-0.2.0.tar.gz", REPOSITORY)
    resources = re.findall(r'^  resource "(.+)" do\n    url "(.+)"\n    sha256 "(.+)"\n  end$', text, re.MULTILINE)
    assert resources == [
        ("click", "https://files.example/a/click-8.5.1.tar.gz", packages[0]["sdist"]["hashes"]["sha256"]),
        ("pyyaml", "https://files.example/b/pyyaml-6.0.4.tar.gz", packages[1]["sdist"]["hashes"]["sha256"]),
    ]
    own = re.search(r'^  url "(.+)"\n  sha256 "(.+)"$', text, re.MULTILINE)
    assert own
    address = f"{REPOSITORY}/releases/download/v0.2.0/rolekeeper-0.2.0.tar.gz"
    assert own.groups() == (address, sha256(b"archive").hexdigest())
    for line in ('desc "Gives roles"', f'homepage "{REPOSITORY}"', 'license "Apache-2.0"', 'depends_on "python@3.13"'):
        assert f"  {line}\n" in text


def test_it_is_a_class_whose_blocks_end(root: Path, packages: list[dict[str, Any]]) -> None:
    lines = homebrew.formula(root, packages, root / "rolekeeper-0.2.0.tar.gz", REPOSITORY).splitlines()
    opened: list[str] = []
    for line in lines:
        indent, word = re.match(r"( *)(\S*)", line).groups()  # type: ignore[union-attr]  # it matches anything
        if word in {"class", "def"} or line.endswith(" do"):
            opened.append(indent)
        elif word == "end":
            assert opened.pop() == indent
    assert (lines[0], opened) == ("class Rolekeeper < Formula", [])
    assert lines[1] == "  include Language::Python::Virtualenv"


def test_an_archive_that_the_lock_has_not_is_refused(root: Path, packages: list[dict[str, Any]]) -> None:
    packages[1]["sdist"]["hashes"]["sha256"] = "0" * 64
    with pytest.raises(RefusedError, match=r"pyyaml-6\.0\.4\.tar\.gz isn't the archive that requirements/dev\.txt has"):
        homebrew.formula(root, packages, root / "rolekeeper-0.2.0.tar.gz", REPOSITORY)


def test_a_package_without_a_source_archive_is_refused(root: Path, packages: list[dict[str, Any]]) -> None:
    del packages[0]["sdist"]
    with pytest.raises(RefusedError, match=r"click 8\.5\.1 has no source archive"):
        homebrew.formula(root, packages, root / "rolekeeper-0.2.0.tar.gz", REPOSITORY)


def test_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert homebrew.main(str(PYLOCK), "rolekeeper-0.2.0.tar.gz", "") == 1
    assert "make formula REPOSITORY=https://" in capsys.readouterr().err
