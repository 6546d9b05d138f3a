"""One edit of a row that governs many instances: the calls that it takes to have each looked at, and processor time."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.deployed import finished, function, written
from bench.programs import bench
from bench.rows import Row, Target

FLEETS = (1_000, 10_000, 100_000)


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """Calls, messages and processor time for each size."""
    keys = {"tag_key": {"S": "app"}, "tag_value": {"S": "app-0"}}
    row = {**keys, "role": {"S": "role-new"}}
    change = {"Keys": keys, "NewImage": row, "SequenceNumber": "1", "ApproximateCreationDateTime": 1_795_000_000}
    event = {"Records": [{"eventID": "edit", "eventName": "MODIFY", "dynamodb": change}]}
    # An edit this wide would wait for a second person.
    wide = {"MaxChangesPerEdit": "1000000", "MaxChangesPercent": "100"}
    with bench() as aws, tempfile.TemporaryDirectory() as name:
        program = function("OnMappingChange", written(Path(name), "events", [event]), **wide)
        first = 0.0
        for size in FLEETS:
            say(f"{size:,} instances")
            aws.begin("fleet", instances=size, rows=1, edited=True)
            ran = finished(aws, program, Path(name), **wide)
            counted = aws.calls()["counted"]
            if counted.get("SendMessageBatch", 0) < size / 10:
                raise RuntimeError(f"of {size:,} instances not all were sent: {counted}")
            calls = 1_000 * sum(counted.values()) / size
            first = first or calls
            flat = Target(1.1) if size > FLEETS[0] else None
            what = f"one edit, {size:,} instances"
            yield Row(f"{what}, calls for 1,000", calls, "calls", first, f"{FLEETS[0]:,} instances", flat)
            yield Row(f"{what}, processor time for 1,000", 1_000_000 * ran.cpu / size, "ms")
            yield Row(f"{what}, peak memory", ran.peak, "MB")
