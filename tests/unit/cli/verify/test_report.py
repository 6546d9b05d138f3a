"""The report of a verification: a document, a page and a plot. No text in them makes markup."""

import json
import re
import stat
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fixtures.terminal import undeclared
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.shell.documents import as_json
from rolekeeper_verify import report as reports
from rolekeeper_verify.redact import Redacted, redacted
from rolekeeper_verify.view import Answer, Outcome, Probe, Report, Step

ACCOUNT = "123456789012"
INSTANCE = "i-0aef5d5ffb60c8615"
KNOWN: dict[str, Any] = {
    "id": "abc123",
    "version": "1.0.0",
    "region": "us-east-1",
    "began": "2026-03-02T09:15:04+00:00",
}
LAUNCH = Step(name="launch", what="It gets the role.", outcome=Outcome.PASSED, seconds=12.34567, why="")
RETAG = LAUNCH.but(name="retag", outcome=Outcome.FAILED, seconds=90, why="no new association after 90 s")
SWEEP = LAUNCH.but(name="sweep", outcome=Outcome.SKIPPED, seconds=0, why="no permission")
FACT = {"fact": "Errors", "expected": "IncorrectState"}
AS_EXPECTED = Probe(name="stopped", **FACT, outcome=Outcome.PASSED, observed="IncorrectState", why="")
OTHERWISE = Probe(name="stale", **FACT, outcome=Outcome.FAILED, observed=f"x of {INSTANCE}", why="")
UNASKED = Probe(name="history", **FACT, outcome=Outcome.SKIPPED, observed="", why="not there yet")


def report(**parts: Any) -> Redacted:
    return redacted(Report.of(**KNOWN, **parts), f"arn:aws:iam::{ACCOUNT}:user/jane.doe")


def page(**parts: Any) -> list[str]:
    return reports.markdown(report(**parts)).splitlines()


def svg(**parts: Any) -> ET.Element:
    return ET.fromstring(reports.plot(report(**parts)))


def shapes(root: ET.Element, name: str) -> list[ET.Element]:
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


# ---- the document ----


def test_the_document_has_what_a_replay_needs_and_nothing_of_the_caller() -> None:
    asked = {"InstanceIds": [INSTANCE]}
    answer = Answer(at=1.5, operation="DescribeInstances", asked=asked, answer={"Reservations": []})
    event = {"source": "aws.ec2", "detail": {"instance-id": INSTANCE}}
    left = ["AWS::S3::Bucket x of jane.doe"]
    whole = report(steps=[LAUNCH, RETAG], probes=[AS_EXPECTED], answers=[answer], events=[event], left=left)
    shown = json.loads(as_json(whole))
    assert undeclared(["verify"], shown) == []
    plain = "i-00000000000000001"
    assert shown["answers"] == [{**vars(answer), "asked": {"InstanceIds": [plain]}}]
    assert shown["events"] == [{"source": "aws.ec2", "detail": {"instance-id": plain}}]
    assert (shown["seconds"], shown["left"]) == (102.3, ["AWS::S3::Bucket x of name-1"])
    assert shown["steps"] == [{**vars(LAUNCH), "seconds": 12.346}, vars(RETAG)]
    assert shown["probes"] == [vars(AS_EXPECTED)]


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ({"steps": [LAUNCH]}, "passed"),
        ({"steps": [LAUNCH, SWEEP]}, "skipped"),
        ({"steps": [RETAG, SWEEP]}, "failed"),
        ({"steps": [LAUNCH, RETAG]}, "failed"),
        ({"steps": [LAUNCH], "left": ["a bucket"]}, "failed"),
        ({"steps": [LAUNCH], "probes": [OTHERWISE]}, "passed"),
    ],
)
def test_a_verification_fails_by_a_step_or_by_what_is_left_and_not_by_what_aws_does(
    parts: dict[str, Any], outcome: str
) -> None:
    assert report(**parts).outcome == outcome


# ---- the page ----


def test_the_page_says_what_is_left() -> None:
    says = "## Left behind\n\n`rolekeeper verify --sweep` removes it.\n\n- `s3 rolekeeper-verify-abc123`\n"
    assert says in "\n".join(page(steps=[LAUNCH], left=["s3 rolekeeper-verify-abc123"]))


HOSTILE = "a|b `c` ` <script>alert(1)</script> [x](javascript:alert(1)) *d* @team #1 \\| ![y](z) &amp;lt; \n\n# e"


def test_no_text_of_anothers_makes_markup() -> None:
    hostile = {
        "steps": [RETAG.but(name=HOSTILE, what=HOSTILE, why=HOSTILE)],
        "probes": [OTHERWISE.but(name=HOSTILE, fact=HOSTILE, expected=HOSTILE, observed=HOSTILE, why=HOSTILE)],
        "left": [HOSTILE],
    }
    harmless = {"steps": [RETAG.but(why="w")], "probes": [OTHERWISE], "left": ["l"]}
    lines, others = page(**hostile), page(**harmless)
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        assert _bars(line) == _bars(other)
        outside = line.replace("\\\\", "").replace("\\`", "").replace("![Seconds of each step]", "").split("`")
        assert len(outside) % 2 == 1
        unescaped = re.sub(r"\\[<*@\[]", "", "".join(outside[::2]))
        assert not set(unescaped) & set("<*@[")


def _bars(line: str) -> int:
    return line.replace("\\\\", "").replace("\\|", "").count("|")


# ---- the plot ----


def test_the_plot_stays_a_plot_whatever_a_step_is_called_and_without_steps() -> None:
    root = svg(steps=[LAUNCH.but(name="</text><script>x</script>"), LAUNCH.but(name="long " * 40)])
    assert not shapes(root, "script")
    assert len(shapes(root, "text")[2].text or "") <= 36
    assert len(shapes(svg(), "rect")) == 1


# ---- the files ----


def test_three_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    written = reports.write(report(steps=[LAUNCH], left=[ACCOUNT]), tmp_path)
    assert [each.name for each in written] == [f"rolekeeper-verify-abc123.{form}" for form in ("json", "md", "svg")]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert {stat.S_IMODE(each.stat().st_mode) for each in written} == {0o600}
    assert ACCOUNT not in "".join(each.read_text() for each in written)
    assert json.loads(written[0].read_text())["rolekeeper_verify"] == 1


def test_no_other_file_is_written_over(tmp_path: Path) -> None:
    other = tmp_path / "rolekeeper-verify-abc123.md"
    other.write_text("another run's")
    with pytest.raises(UsageError, match=r"abc123\.md is there already"):
        reports.write(report(), tmp_path)
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(other, "another run's")]


def test_a_folder_that_cant_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/rolekeeper-verify-abc123\.json can't be written: No such file"):
        reports.write(report(), tmp_path / "nowhere")


def test_a_write_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left"):
        reports.write(report(), tmp_path)
    assert list(tmp_path.iterdir()) == []
