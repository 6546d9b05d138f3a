"""What releases are made with, and what draws the README's picture."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse
from tools import artifacts, release
from tools.release import git

from support.repositories import new_repository

ROOT = Path(__file__).parents[2]
FILES = {
    "pyproject.toml": '[project]\nname = "rolekeeper"\nversion = "0.1.0"\n',
    "template.yaml": "Outputs:\n  Version: {Value: '0.1.0', Description: Version.}\n",
    "spoke.yaml": "Tags: [{Key: 'rolekeeper:version', Value: '0.1.0'}]\nOutputs:\n  Version: {Value: '0.1.0'}\n",
    "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-11-24\n\n- All.\n",
}
TODAY = date(2026, 12, 1)


def test_a_release_has_its_number_everywhere_and_its_news_under_a_date() -> None:
    made = release.released("0.2.0", TODAY, FILES)
    assert 'version = "0.2.0"' in made["pyproject.toml"]
    assert "Version: {Value: '0.2.0', Description" in made["template.yaml"]
    assert made["spoke.yaml"] == FILES["spoke.yaml"].replace("0.1.0", "0.2.0")
    assert "## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- A thing." in made["CHANGELOG.md"]
    assert made["CHANGELOG.md"].endswith("## [0.1.0] - 2026-11-24\n\n- All.\n")


@pytest.mark.parametrize(
    ("version", "changed", "why"),
    [
        *((version, {}, "isn't higher") for version in ("0.1.0", "0.0.9")),
        *((version, {}, "is no version") for version in ("1.0", "v0.2.0", "", "0.2.0rc1")),
        ("0.2.0", {"CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n"}, "says nothing under Unreleased"),
        (
            "0.2.0",
            {"template.yaml": "Outputs:\n  Version:\n    Value: 0.1.0\n"},
            "template.yaml doesn't hold the version",
        ),
    ],
)
def test_a_release_without_a_higher_number_without_news_or_with_a_hidden_version_is_refused(
    version: str, changed: dict[str, str], why: str
) -> None:
    with pytest.raises(release.RefusedError, match=why):
        release.released(version, TODAY, FILES | changed)


def test_our_own_files_can_be_released() -> None:
    files = {name: (ROOT / name).read_text() for name in FILES}
    # Right after a release there is no news yet.
    files["CHANGELOG.md"] = files["CHANGELOG.md"].replace("## [Unreleased]\n", "## [Unreleased]\n\n- A thing.\n", 1)
    made = release.released("99.0.0", TODAY, files)
    assert made.keys() == FILES.keys()
    assert made["spoke.yaml"].count("'99.0.0'") == 2, "the tag of the reader, and the output"


BUILDS = f"""
import pathlib, subprocess, tomllib
version = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["version"]
commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
pathlib.Path("dist").mkdir(exist_ok=True)
pathlib.Path("{release.SUMS}").write_text(f"{{'0' * 64}}  rolekeeper-{{version}}.tar.gz\\n{{commit:0<64}}  #commit\\n")
"""
BUILD = [sys.executable, "-c", BUILDS]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with these files, on its main branch."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".gitignore").write_text("dist/\n")
    new_repository(tmp_path)
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def texts(tree: Path) -> dict[str, str]:
    return {name: (tree / name).read_text() for name in FILES}


def test_a_release_is_committed_then_built_from_that_commit_and_tagged_with_the_checksums(tree: Path) -> None:
    assert release.main(["0.2.0"], tree, BUILD) == 0
    assert 'version = "0.2.0"' in texts(tree)["pyproject.toml"]
    assert git(tree, "log", "--format=%s") == "Release 0.2.0\nall"
    assert git(tree, "status", "--porcelain") == ""
    commit = git(tree, "rev-parse", "HEAD")
    assert git(tree, "rev-parse", "v0.2.0^{commit}") == commit
    said = git(tree, "for-each-ref", "--format=%(contents)", "refs/tags/v0.2.0")
    assert said == f"Rolekeeper 0.2.0\n\n{'0' * 64}  rolekeeper-0.2.0.tar.gz\n{commit:0<64}  #commit"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["rm", "--quiet", "--cached", "template.yaml"], "changes that aren't committed"),
        (["switch", "--quiet", "--create", "other"], "this is other"),
        (["tag", "v0.2.0"], "the tag v0.2.0 is taken"),
    ],
)
def test_nothing_is_written_where_something_else_would_be_released(
    tree: Path, capsys: pytest.CaptureFixture[str], command: list[str], why: str
) -> None:
    git(tree, *command)
    assert release.main(["0.2.0"], tree, BUILD) == 1
    assert why in capsys.readouterr().err
    assert texts(tree) == FILES


# Interrupted, `subprocess.run` waits a quarter of a second for what it killed: on a busy machine that is too short.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.parametrize("fails", ["commit", "build", "interrupted", "no checksums", "tag"])
def test_a_release_that_fails_leaves_no_commit_no_tag_and_the_files_of_before(
    tree: Path, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    """What a person wrote meanwhile stays."""
    hook = {"commit": "pre-commit", "tag": "reference-transaction"}.get(fails)
    if hook:
        (tree / ".git/hooks" / hook).write_text(
            "#!/bin/sh\n! grep refs/tags\n" if fails == "tag" else "#!/bin/sh\nexit 1\n"
        )
        (tree / ".git/hooks" / hook).chmod(0o755)
    ends = {"build": "; raise SystemExit(2)", "interrupted": "; import os; os.kill(os.getppid(), 2); input()"}.get(
        fails, ""
    )
    builds = "" if fails == "no checksums" else BUILDS
    build = [sys.executable, "-c", f"{builds}\nopen('noted', 'w').close(){ends}"]
    before = git(tree, "rev-parse", "HEAD")
    assert release.main(["0.2.0"], tree, build) == 1
    assert "The release's commit is undone, and nothing is tagged" in capsys.readouterr().err
    assert git(tree, "rev-parse", "HEAD") == before
    assert git(tree, "tag") == ""
    assert texts(tree) == FILES
    assert git(tree, "status", "--porcelain") == ("" if fails == "commit" else "?? noted")


def test_what_was_built_of_a_tag_is_what_the_tag_has(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["0.2.0"], tree, BUILD) == 0
    assert release.main(["--verify", "v0.2.0"], tree) == 0
    (tree / release.SUMS).write_text((tree / release.SUMS).read_text().replace("0" * 64, "1" * 64))
    assert release.main(["--verify", "v0.2.0"], tree) == 1
    git(tree, "tag", "v0.3.0")
    assert release.main(["--verify", "v0.3.0"], tree) == 1
    other, none = capsys.readouterr().err.splitlines()
    assert "other contents than v0.2.0 has: rolekeeper-0.2.0.tar.gz." in other
    assert "the tag is v0.3.0, and pyproject.toml has the version of v0.2.0" in none


def test_a_tag_that_no_release_made_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(tree, "tag", "v0.1.0")
    subprocess.run(BUILD, cwd=tree, check=True)
    assert release.main(["--verify", "v0.1.0"], tree) == 1
    assert "#commit" in capsys.readouterr().err


# ---- who may publish ----


def test_only_the_job_that_publishes_gets_an_identity_and_it_waits_for_a_person_and_runs_nothing_of_ours() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    allowed = {name: {**job.get("permissions", {})} for name, job in jobs.items()}
    assert [name for name, permissions in allowed.items() if "id-token" in permissions] == ["publish"]
    assert [
        name for name, permissions in allowed.items() if "contents" in permissions if permissions["contents"] == "write"
    ] == ["release"]
    assert jobs["publish"]["environment"] == "release"
    assert set(jobs["publish"]["needs"]) == {"test", "build"}
    assert not [step for step in jobs["publish"]["steps"] if "run" in step or "checkout" in step["uses"]]


# ---- what the wheel carries ----


def test_the_template_goes_up_without_anchors_and_otherwise_as_it_is() -> None:
    text = (ROOT / artifacts.TEMPLATE).read_text()
    written = artifacts.without_anchors(text)
    assert not [each for each in yaml.scan(written) if isinstance(each, (yaml.AnchorToken, yaml.AliasToken))]
    assert "<<" not in written
    assert yaml_parse(written) == yaml_parse(text)
    # `rolekeeper deploy` finds these by their lines (deploy/artifacts.py).
    assert {"CodeUri: functions/", "ContentUri: layers/rolekeeper"} <= {each.strip() for each in written.splitlines()}
