"""`make release` in a clone, and what the workflow builds of its tag in another."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from tools.release import git

from support.pages import ROOT
from support.repositories import new_repository

pytestmark = pytest.mark.emulator

VERSION = "99.0.0"
PACKAGES = [f"rolekeeper-{VERSION}-py3-none-any.whl", f"rolekeeper-{VERSION}.tar.gz"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of these sources, as they are, in which `make release` was typed."""
    root = tmp_path_factory.mktemp("released")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    changelog = root / "CHANGELOG.md"
    # Right after a release there is no news yet.
    changelog.write_text(changelog.read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- A thing.\n", 1))
    new_repository(root)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")
    make(root, "release", f"VERSION={VERSION}")
    return root


@pytest.fixture(scope="module")
def again(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the tag, in which it was built again."""
    root = tmp_path_factory.mktemp("again") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--branch", f"v{VERSION}", str(released), str(root)], check=True)
    make(root, "dist")
    return root


def make(root: Path, *words: str) -> None:
    """Run make there with the environments of this clone; of bills of materials, which take long, there is one."""
    later = time.time() + 3600
    for env in (Path(".venv"), *(each.relative_to(ROOT) for each in (ROOT / ".envs").iterdir())):
        (root / env).mkdir(parents=True, exist_ok=True)
        for entry in (ROOT / env).iterdir():
            if entry.name != "done" and not (root / env / entry.name).exists():
                (root / env / entry.name).symlink_to(entry)
        (root / env / "done").touch()
        # Later than anything that the release writes: make takes them as they are.
        os.utime(root / env / "done", (later, later))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    # Without uv it can't set them up again, which would be here.
    line = ["make", *words, "LOCKS=requirements/uv", "UV=false"]
    done = subprocess.run(line, cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_clone_of_the_tag_builds_the_same_bytes(released: Path, again: Path) -> None:
    files = {each.name: each.read_bytes() for each in (released / "dist").iterdir()}
    assert {each.name: each.read_bytes() for each in (again / "dist").iterdir()} == files
    boms = ["requirements-node.cdx.json", "requirements-uv.cdx.json"]
    assert sorted(files) == sorted([*PACKAGES, *boms, "provenance.intoto.json", "SHA256SUMS"])


def test_that_clone_is_what_the_tag_promises_and_its_checksums_are_true(again: Path) -> None:
    verify = [str(ROOT / ".venv/bin/python"), "-m", "tools.release", "--verify", f"v{VERSION}"]
    subprocess.run(verify, cwd=again, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=again / "dist", check=True)


def test_the_provenance_names_the_commit_that_is_tagged(released: Path) -> None:
    said = json.loads((released / "dist/provenance.intoto.json").read_text())
    commit = git(released, "rev-parse", f"v{VERSION}^{{commit}}")
    assert said["predicate"]["buildDefinition"]["externalParameters"] == {"version": VERSION, "commit": commit}
    assert git(released, "log", "-1", "--format=%s", commit) == f"Release {VERSION}"


@pytest.fixture(scope="module")
def unpacked(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(released / "dist" / PACKAGES[1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"rolekeeper-{VERSION}"


def test_the_source_archive_builds_the_same_wheel(released: Path, unpacked: Path) -> None:
    """As pip does it, with what the archive brings built."""
    line = [str(ROOT / ".venv/bin/python"), "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(line, cwd=unpacked, check=True, capture_output=True)
    assert (unpacked / "dist" / PACKAGES[0]).read_bytes() == (released / "dist" / PACKAGES[0]).read_bytes()


def test_the_source_archive_holds_what_a_wheel_is_made_of_and_nothing_else(released: Path, unpacked: Path) -> None:
    """What `make wheel` reads, what it built, and what describes it."""
    whole = ["cli", "functions", "layers", "local", "statemachines", "verify"]
    some = ["events", "examples", "requirements", "tools"]
    files = {"Makefile", "hatch_build.py", "pyproject.toml", "spoke.yaml", "template.yaml"}
    described = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "artifacts"}
    made = {"__pycache__", "dist"}
    assert {each.name for each in unpacked.iterdir()} - made == {*whole, *some} | files | described
    for name in git(released, "ls-files", *whole, *files).splitlines():
        assert (unpacked / name).read_bytes() == (released / name).read_bytes()
    assert [*unpacked.rglob("test_*.py")] == []


def test_an_index_takes_its_metadata(unpacked: Path) -> None:
    """As twine checks it: by the core metadata specifications, and a description with its type."""
    said = Metadata.from_email((unpacked / "PKG-INFO").read_bytes(), validate=True)
    assert (said.name, str(said.version), said.description_content_type) == ("rolekeeper", VERSION, "text/markdown")
    assert re.match("# ", said.description or "")
