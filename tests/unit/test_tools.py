"""What releases are made with, and what draws the README's picture."""

import subprocess
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse
from tools import artifacts, picture, release

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


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "1.0", "v0.2.0", "", "0.2.0rc1"])
def test_a_number_that_is_none_or_not_higher_is_refused(version: str) -> None:
    with pytest.raises(release.RefusedError, match=r"isn't higher|is no version"):
        release.released(version, TODAY, FILES)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n", "says nothing under Unreleased"),
        ("template.yaml", "Outputs:\n  Version:\n    Value: 0.1.0\n", "template.yaml doesn't hold the version"),
    ],
)
def test_a_release_without_news_or_with_a_hidden_version_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(release.RefusedError, match=why):
        release.released("0.2.0", TODAY, FILES | {name: text})


def test_our_own_files_can_be_released() -> None:
    files = {name: (ROOT / name).read_text() for name in FILES}
    # Right after a release there is no news yet.
    files["CHANGELOG.md"] = files["CHANGELOG.md"].replace("## [Unreleased]\n", "## [Unreleased]\n\n- A thing.\n", 1)
    made = release.released("99.0.0", TODAY, files)
    assert made.keys() == FILES.keys()
    assert made["spoke.yaml"].count("'99.0.0'") == 2, "the tag of the reader, and the output"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with these files, on its main branch."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        ["-c", "user.name=g", "-c", "user.email=g@h", "commit", "--quiet", "--message", "all"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_main_branch_is_written_to(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["0.2.0"], tree) == 0
    assert 'version = "0.2.0"' in (tree / "pyproject.toml").read_text()
    assert capsys.readouterr().out == "pyproject.toml, template.yaml, spoke.yaml, CHANGELOG.md: now 0.2.0\n"


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
    subprocess.run(["git", *command], cwd=tree, check=True)
    assert release.main(["0.2.0"], tree) == 1
    assert why in capsys.readouterr().err
    assert {name: (tree / name).read_text() for name in FILES} == FILES


# ---- what the wheel carries ----


def test_the_template_goes_up_without_anchors_and_otherwise_as_it_is() -> None:
    text = (ROOT / artifacts.TEMPLATE).read_text()
    written = artifacts.without_anchors(text)
    assert not [each for each in yaml.scan(written) if isinstance(each, (yaml.AnchorToken, yaml.AliasToken))]
    assert "<<" not in written
    assert yaml_parse(written) == yaml_parse(text)
    # `rolekeeper deploy` finds these by their lines (deploying/artifacts.py).
    assert {"CodeUri: functions/", "ContentUri: layers/rolekeeper"} <= {each.strip() for each in written.splitlines()}


# ---- the picture ----

OUTPUT = """\
   3.1 s  · 6 mappings written

  10.0 s    1. Launch an instance
  10.0 s  → ec2 run-instances
  10.1 s  · waiting: it runs
  12.0 s  ✓ it runs <now> & then

  12.0 s    8. A step too many
  12.0 s  → ec2 stop-instances

The fleet
"""


def test_the_picture_shows_the_first_steps_and_loads_nothing() -> None:
    svg = picture.drawn(OUTPUT, "make demo")
    said = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert all(each in said for each in ("1. Launch an instance", "→ ec2 run-instances", "✓ it runs <now> & then"))
    assert not any(each in said for each in ("waiting", "mappings written", "A step too many", "The fleet"))
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
