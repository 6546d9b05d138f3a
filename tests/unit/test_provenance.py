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

ROOT = Path(__file__).parents[2]
COMMITTED = "2026-12-01T08:30:00Z"


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
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        for part, value in {"NAME": "g", "EMAIL": "g@h", "DATE": COMMITTED}.items():
            monkeypatch.setenv(f"{name}_{part}", value)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "commit.gpgSign=false", "commit", "--quiet", "--message", "all")
    return tmp_path


def made(tree: Path) -> dict[str, Any]:
    assert provenance.main(tree / "dist", tree) == 0
    document: dict[str, Any] = json.loads((tree / "dist/provenance.intoto.json").read_text())
    return document


def hashed(file: Path) -> dict[str, str]:
    return {"sha256": sha256(file.read_bytes()).hexdigest()}


def test_it_is_an_in_toto_statement_about_every_file_that_was_built(tree: Path) -> None:
    said = made(tree)
    assert said.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    built = [tree / "dist" / name for name in ("rolekeeper-0.2.0-py3-none-any.whl", "rolekeeper-0.2.0.tar.gz")]
    assert said["subject"] == [{"name": file.name, "digest": hashed(file)} for file in built]


def test_it_names_the_commit_and_each_lock_as_what_the_build_read(tree: Path) -> None:
    commit = git(tree, "rev-parse", "HEAD")
    definition = made(tree)["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"version": "0.2.0", "commit": commit}
    source, *locks = definition["resolvedDependencies"]
    assert source == {"name": "source", "digest": {"gitCommit": commit}}
    wanted = ["layers/rolekeeper/requirements.txt", "local/requirements.txt", "requirements/dev.txt"]
    wanted.append("requirements/node/package-lock.json")
    assert locks == [{"name": name, "digest": hashed(tree / name)} for name in wanted]


def test_its_fields_are_those_of_the_specification_and_of_its_types(tree: Path) -> None:
    """SLSA Build L1 requires buildType, externalParameters and builder.id. No field is in both kinds of parameters."""
    predicate = made(tree)["predicate"]
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    parameters = ("externalParameters", "internalParameters")
    assert definition.keys() == {"buildType", *parameters, "resolvedDependencies"}
    assert not definition[parameters[0]].keys() & definition[parameters[1]].keys()
    assert all(isinstance(value, str) and value for each in parameters for value in definition[each].values())
    assert run.keys() == {"builder", "metadata"}
    assert run["metadata"].keys() == {"invocationId", "startedOn", "finishedOn"}
    # TypeURI (field_types.md): a URI of RFC 3986, whose scheme is in lower case.
    assert all(
        re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s<>]+", uri) for uri in (definition["buildType"], run["builder"]["id"])
    )


def test_its_times_are_the_commits_so_that_another_build_of_it_says_the_same(tree: Path) -> None:
    first = made(tree)
    assert {first["predicate"]["runDetails"]["metadata"][name] for name in ("startedOn", "finishedOn")} == {COMMITTED}
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


def test_contributing_explains_both_names() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"`{name}`" in text for name in (provenance.BUILD_TYPE, provenance.BUILDER))
