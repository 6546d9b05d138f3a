"""The bench's arithmetic, table, line of JSON, page and plot. No test here takes a time."""

import json
import platform
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench import bench, calls, convergence, notes, page, plot
from bench.rows import Row, Target, missed

from fixtures.account import MUTATIONS
from simulation.burst import Change

HELD = Row("cold start", 90, "ms", 200, "floor", Target(0.5))
MISSED = Row("memory", 74, "MB", 66, "stock <boto3>", Target(46, "ours"))
RATE = Row("share of the rate", 0.98, "of the bucket", target=Target(0.95, "ours", least=True))
PLAIN = Row("decided", 180_000, "a second")
ROWS = [HELD, MISSED, RATE, PLAIN]


@pytest.mark.parametrize(
    ("row", "ratio", "held"),
    [
        (HELD, 0.45, True),
        (MISSED, 74 / 66, False),
        (RATE, None, True),
        (replace(RATE, ours=0.949), None, False),
        (replace(RATE, ours=0.95), None, True),
        (PLAIN, None, None),
    ],
)
def test_a_row_holds_its_target_by_its_ratio_or_by_its_own_figure(
    row: Row, ratio: float | None, *, held: bool | None
) -> None:
    assert row.ratio == ratio
    assert row.held is held


def test_a_row_of_json_has_what_scripts_read() -> None:
    assert json.loads(json.dumps(HELD.document())) == {
        "name": "cold start",
        "ours": 90.0,
        "against": 200.0,
        "ratio": 0.45,
        "target": "ratio <= 0.5",
        "held": True,
        "unit": "ms",
        "peer": "floor",
        "error": None,
    }
    empty = {name for name, value in PLAIN.document().items() if value is None}
    assert empty == {"against", "ratio", "target", "held", "peer", "error"}


def test_a_run_ends_with_one_line_of_json_and_a_miss_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "measured", {"calls": [HELD], "decisions": [MISSED]}.__getitem__)
    assert bench.main(["--only", "calls,decisions"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [each["name"] for each in json.loads(said[-1])] == ["cold start", "memory"]
    assert said[-2] == "1 of 2 targets are missed in this run"
    assert any("missed" in line and "memory" in line for line in said[:-2])
    assert "\x1b" not in "".join(said)


def test_a_part_that_fails_is_a_row_and_takes_no_other_row_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_say: bench.Say) -> Iterator[Row]:
        yield HELD
        raise RuntimeError("no [answer]\nafter a while")

    monkeypatch.setattr(bench, "PARTS", ("calls", "convergence"))
    monkeypatch.setattr(calls, "rows", fails)
    monkeypatch.setattr(convergence, "rows", lambda _say: [MISSED])
    monkeypatch.setattr(bench, "write", lambda _rows: pytest.fail("a page without all parts"))
    assert bench.main(["--docs"]) == 1
    out, err = capsys.readouterr()
    said = out.splitlines()
    error = "RuntimeError: no [answer]\nafter a while"
    found = [(each["name"], each["ours"], each["error"]) for each in json.loads(said[-1])]
    assert found == [("cold start", 90, None), ("calls", None, error), ("memory", 74, None)]
    assert said[-3] == "1 of 2 parts failed: calls; the page isn't written"
    assert any("calls" in line and "RuntimeError: no [answer]" in line and "failed" in line for line in said[:-3])
    assert "Traceback" in err


# ---- the page ----


def test_the_page_says_what_is_behind_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "NOTES", {"mem": "botocore's models", "memory": "all of botocore's models"})
    text = page.section(ROWS, "Measured on a day.")
    assert text.startswith("Measured on a day.\n\n| what | ours |")
    assert "| cold start | 90 ms | 200 ms (floor) | 0.45 | ratio <= 0.5 | held |" in text
    assert "2 targets are held, 1 missed." in text
    assert "| memory | all of botocore's models |" in text
    assert missed(ROWS) == [MISSED]


def test_writing_the_page_leaves_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(f"# Performance\n\n{page.BEGIN}\nthe former run\n{page.END}\n\n## How\n")
    page.write(ROWS, tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert text.startswith(f"# Performance\n\n{page.BEGIN}\nMeasured on ")
    assert text.endswith(f"\n{page.END}\n\n## How\n")
    assert "the former run" not in text
    assert platform.node() not in text
    assert (tmp_path / "performance.svg").read_text() == plot.svg(ROWS)


def test_a_page_without_its_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="lost the marks"):
        page.filled("# Performance\n", "table")


def test_the_committed_page_has_its_marks_and_explains_every_part() -> None:
    text = (page.DOCS / "performance.md").read_text()
    assert page.filled(text, "table") != text
    _, _, how = text.partition("## How it is measured")
    assert [part for part in bench.PARTS if f"`{part}`" not in how] == []


# ---- the plot ----


def test_a_bar_is_left_of_the_line_where_the_target_is_held_and_right_of_it_where_it_is_missed() -> None:
    assert plot.times_the_target(HELD) == pytest.approx(0.9)
    assert plot.times_the_target(MISSED) == pytest.approx(74 / 46)
    assert plot.times_the_target(RATE) == pytest.approx(0.95 / 0.98)
    root = ET.fromstring(plot.svg(ROWS))
    line = float(next(root.iter("{http://www.w3.org/2000/svg}line")).attrib["x1"])
    bars = [each.attrib for each in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in each.attrib]
    sides = [(bar["fill"], float(bar["x"]) >= line - 1) for bar in bars]
    assert sides == [(plot.HELD, False), (plot.MISSED, True), (plot.HELD, False)]


# ---- the parts' own arithmetic ----


def test_a_burst_that_does_not_converge_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "INSTANCES", 10)
    assert convergence.burst(Change.ATTACH).changed == 10
    late = replace(convergence.burst(Change.ATTACH), changed=9)
    monkeypatch.setattr(convergence, "converge", lambda *_, **__: late)
    with pytest.raises(RuntimeError, match="9 of 10 changed"):
        convergence.burst(Change.ATTACH)


@pytest.mark.parametrize("change", ["attach", "replace", "nothing"])
def test_an_events_calls_are_counted_until_the_role_is_there(change: str) -> None:
    found = calls.calls(change, 3, 0.2)
    assert found["DescribeInstances"] >= 1
    mutations = {"attach": ["AssociateIamInstanceProfile"], "replace": ["ReplaceIamInstanceProfileAssociation"]}
    assert [each for each in MUTATIONS if each in found] == mutations.get(change, [])
