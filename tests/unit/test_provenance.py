"""The provenance of a release, by the words of its specifications.

Statement: in-toto/attestation, spec/v1/statement.md and resource_descriptor.md, at 412b0d4 and 5094fe5.
Predicate: slsa-framework/slsa, docs/spec/v1.0/provenance.md, at 15a4f9c.
"""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tools import provenance
from tools.release import git

from support.repositories import new_repository

ROOT = Path(__file__).parents[2]
WRITTEN, COMMITTED = "2026-11-30T08:30:00Z", "2026-12-01T08:30:00Z"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a commit, with two files built from it."""
    for name, text in {
        ".gitignore": "dist/\n",
        "pyproject.toml": '[project]\nversion = "0.2.0"\n',
        "requirements/dev.txt": "hatchling\n",
        "requirements/dev.in": "hatchling\n",
        "requirements/node/package-lock.json": "{}\n",
        "local/requirements.txt": "ministack\n",
        "layers/rolekeeper/requirements.txt": "botocore\n",
        "dist/rolekeeper-0.2.0.tar.gz": "archive",
        "dist/rolekeeper-0.2.0-py3-none-any.whl": "wheel",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("GIT_AUTHOR_DATE", WRITTEN)
    monkeypatch.setenv("GIT_COMMITTER_DATE", COMMITTED)
    new_repository(tmp_path)
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def made(tree: Path) -> dict[str, Any]:
    assert provenance.main(tree / "dist", tree) == 0
    document: dict[str, Any] = json.loads((tree / "dist/provenance.intoto.json").read_text())
    return document


def hashed(file: Path) -> dict[str, str]:
    return {"sha256": sha256(file.read_bytes()).hexdigest()}


def test_it_is_slsa_provenance_of_every_file_that_was_built_from_the_commit_and_each_lock(tree: Path) -> None:
    """SLSA Build L1 requires buildType, externalParameters and builder.id."""
    commit = git(tree, "rev-parse", "HEAD")
    said = made(tree)
    definition, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    internal = definition.pop("internalParameters")
    assert internal.keys() == {"python", "zlib"}
    assert all(internal.values())
    built = ("rolekeeper-0.2.0-py3-none-any.whl", "rolekeeper-0.2.0.tar.gz")
    locks = ("layers/rolekeeper/requirements.txt", "local/requirements.txt", "requirements/dev.txt")
    assert said == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": name, "digest": hashed(tree / "dist" / name)} for name in built],
        "predicate": {"buildDefinition": definition, "runDetails": run},
    }
    assert definition == {
        "buildType": provenance.BUILD_TYPE,
        "externalParameters": {"version": "0.2.0", "commit": commit},
        "resolvedDependencies": [
            {"name": "source", "digest": {"gitCommit": commit}},
            *(
                {"name": name, "digest": hashed(tree / name)}
                for name in (*locks, "requirements/node/package-lock.json")
            ),
        ],
    }
    assert run == {
        "builder": {"id": provenance.BUILDER},
        "metadata": {"invocationId": f"v0.2.0@{commit}", "startedOn": COMMITTED, "finishedOn": COMMITTED},
    }
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"`{name}`" in contributing for name in (provenance.BUILD_TYPE, provenance.BUILDER))
    # TypeURI (field_types.md): a URI of RFC 3986, whose scheme is in lower case.
    assert all(re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s<>]+", uri) for uri in (provenance.BUILD_TYPE, provenance.BUILDER))


def test_another_build_of_the_commit_says_the_same(tree: Path) -> None:
    first = made(tree)
    (tree / "dist/provenance.intoto.json").unlink()
    (tree / "dist/SHA256SUMS").unlink()
    assert made(tree) == first


def test_the_checksums_are_of_all_that_is_handed_out_in_the_form_that_sha256sum_checks(tree: Path) -> None:
    made(tree)
    sums = (tree / "dist/SHA256SUMS").read_text()
    files = sorted({*(tree / "dist").iterdir()} - {tree / "dist/SHA256SUMS"})
    assert [file.name for file in files] == [
        "provenance.intoto.json",
        "rolekeeper-0.2.0-py3-none-any.whl",
        "rolekeeper-0.2.0.tar.gz",
    ]
    assert sums == "".join(f"{hashed(file)['sha256']}  {file.name}\n" for file in files)


def test_what_was_built_of_a_tree_with_changes_has_no_provenance(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n')
    assert provenance.main(tree / "dist", tree) == 1
    assert "there are changes:\nM pyproject.toml" in capsys.readouterr().err
    assert not (tree / "dist/SHA256SUMS").exists()
