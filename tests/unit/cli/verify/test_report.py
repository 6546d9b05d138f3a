"""The report of a verification: a document, a page and a plot. No text in them makes markup."""

import json
import re
import stat
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.terminal import undeclared
from rolekeeper_cli.errors import UsageError
from rolekeeper_verify import report as reports
from rolekeeper_verify.outcomes import Answer, Outcome, Probe, Report, Step
from rolekeeper_verify.redact import redacted

ACCOUNT = "123456789012"
INSTANCE = "i-0aef5d5ffb60c8615"
LAUNCH = Step("launch", "An instance that is launched with a tag gets the role.", Outcome.PASSED, seconds=12.34567)
RETAG = Step("retag", "Another tag gives another role.", Outcome.FAILED, 90, why="no new association after 90 s")
SWEEP = Step("sweep", "The sweep repairs a role.", Outcome.SKIPPED, seconds=0, why="no permission")
AS_EXPECTED = Probe("stopped", "Errors", "IncorrectState", outcome=Outcome.PASSED, observed="IncorrectState")
OTHERWISE = Probe("stale", "Errors", "IncorrectState", outcome=Outcome.FAILED, observed=f"x of {INSTANCE}")
UNASKED = Probe("history", "CloudTrail's event history", "is there", outcome=Outcome.SKIPPED, why="not there yet")


def report(**parts: Any) -> Report:
    return replace(Report("abc123", "1.0.0", "us-east-1", began="2026-03-02T09:15:04+00:00"), **parts)


def page(**parts: Any) -> list[str]:
    return reports.markdown(redacted(report(**parts))).splitlines()


def svg(**parts: Any) -> ET.Element:
    return ET.fromstring(reports.plot(redacted(report(**parts))))


def shapes(root: ET.Element, name: str) -> list[ET.Element]:
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


# ---- the document ----


def test_the_document_has_all_that_a_replay_needs_and_nothing_of_the_caller() -> None:
    asked = Answer(1.5, "DescribeInstances", {"InstanceIds": [INSTANCE]}, {"Reservations": []})
    event = {"source": "aws.ec2", "detail": {"instance-id": INSTANCE}}
    whole = report(
        caller=f"arn:aws:iam::{ACCOUNT}:user/jane.doe",
        steps=[LAUNCH, RETAG],
        probes=[AS_EXPECTED],
        answers=[asked],
        events=[event],
        left=["AWS::S3::Bucket x"],
    )
    shown = json.loads(json.dumps(reports.document(redacted(whole))))
    assert undeclared(["verify"], shown) == []
    assert shown == {
        "rolekeeper_verify": 1,
        "outcome": "failed",
        "seconds": 102.3,
        "id": "abc123",
        "version": "1.0.0",
        "region": "us-east-1",
        "began": "2026-03-02T09:15:04+00:00",
        "steps": [
            {"name": "launch", "what": LAUNCH.what, "outcome": "passed", "seconds": 12.346, "why": ""},
            {"name": "retag", "what": RETAG.what, "outcome": "failed", "seconds": 90, "why": RETAG.why},
        ],
        "probes": [
            {
                "name": "stopped",
                "fact": "Errors",
                "expected": "IncorrectState",
                "outcome": "passed",
                "observed": "IncorrectState",
                "why": "",
            }
        ],
        "answers": [
            {
                "at": 1.5,
                "operation": "DescribeInstances",
                "asked": {"InstanceIds": ["i-00000000000000001"]},
                "answer": {"Reservations": []},
            }
        ],
        "events": [{"source": "aws.ec2", "detail": {"instance-id": "i-00000000000000001"}}],
        "left": ["AWS::S3::Bucket x"],
    }


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
    assert reports.document(redacted(report(**parts)))["outcome"] == outcome
    assert page(**parts)[0] == f"# `rolekeeper verify`: {outcome}"
    assert f": {outcome}." in "".join(svg(**parts).itertext())


# ---- the page ----


def test_the_page_begins_with_what_differs_and_what_is_left() -> None:
    lines = page(steps=[LAUNCH], probes=[AS_EXPECTED, OTHERWISE], left=["s3 rolekeeper-verify-abc123"])
    headings = [each for each in lines if each.startswith("#")]
    assert headings == [
        "# `rolekeeper verify`: failed",
        "## AWS differs from docs/AWS_FACTS.md",
        "### stale",
        "## Left behind",
        "## Steps",
        "## Probes",
    ]
    assert "- Observed: `x of i-00000000000000001`" in lines
    assert "- `s3 rolekeeper-verify-abc123`" in lines


def test_the_page_has_a_row_for_each_step_and_each_probe_and_the_plot() -> None:
    lines = page(steps=[LAUNCH, RETAG, SWEEP], probes=[AS_EXPECTED, UNASKED])
    assert [each for each in lines if each.startswith("| ")][1:4] == [
        f"| launch | passed | 12.3 | {LAUNCH.what} |  |",
        f"| retag | failed | 90.0 | {RETAG.what} | `no new association after 90 s` |",
        f"| sweep | skipped | 0.0 | {SWEEP.what} | `no permission` |",
    ]
    assert "| stopped | passed | IncorrectState | `IncorrectState` |" in lines
    assert "| history | skipped | is there | `not there yet` |" in lines
    assert "![Seconds of each step](rolekeeper-verify-abc123.svg)" in lines
    assert not any("differs" in each or "Left" in each for each in lines)


HOSTILE = "a|b `c` ` <script>alert(1)</script> [x](javascript:alert(1)) *d* @team #1 \\| ![y](z) &amp;lt; \n\n# e"


def test_no_text_of_anothers_makes_markup() -> None:
    hostile = {
        "steps": [Step(HOSTILE, HOSTILE, Outcome.FAILED, 1, why=HOSTILE)],
        "probes": [Probe(HOSTILE, HOSTILE, HOSTILE, outcome=Outcome.FAILED, observed=HOSTILE, why=HOSTILE)],
        "left": [HOSTILE],
    }
    harmless = {"steps": [replace(RETAG, why="w")], "probes": [OTHERWISE], "left": ["l"]}
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


def test_the_plot_has_a_bar_for_each_step_as_long_as_it_took() -> None:
    root = svg(steps=[LAUNCH, RETAG, SWEEP])
    page, *bars = [(each.attrib["class"], each.attrib["width"]) for each in shapes(root, "rect")]
    assert page == ("page", "100%")  # what a reader's theme is, the words have the contrast of this one
    assert [(each, float(width)) for each, width in bars] == [
        ("passed", pytest.approx(340 * 12.346 / 90, abs=0.1)),
        ("failed", 340),
        ("skipped", 1),
    ]
    words = [each.text for each in shapes(root, "text")]
    assert words == ["launch", "12.3 s", "retag", "90.0 s, failed", "sweep", "0.0 s, skipped"]
    assert root.attrib["role"] == "img"
    assert "retag 90.0 s, failed" in str(shapes(root, "desc")[0].text)
    assert "prefers-color-scheme: dark" in str(shapes(root, "style")[0].text)


def test_the_plot_stays_a_plot_whatever_a_step_is_called_and_without_steps() -> None:
    root = svg(steps=[replace(LAUNCH, name="</text><script>x</script>"), replace(LAUNCH, name="long " * 40)])
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
    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="No space left"):
        reports.write(report(), tmp_path)
    assert list(tmp_path.iterdir()) == []
