"""How times are written: in UTC, whatever zone a person wrote."""

from datetime import datetime

import pytest

from rolekeeper_cli.shell.layout import day, minute, second


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-03-01T09:00:07+00:00", ("2026-03-01T09:00:07Z", "2026-03-01 09:00 UTC", "2026-03-01")),
        ("2026-03-01T00:30:00+02:00", ("2026-02-28T22:30:00Z", "2026-02-28 22:30 UTC", "2026-02-28")),
        ("9999-12-31T23:59:59-23:00", ("9999-12-31T23:59:59Z", "9999-12-31 23:59 UTC", "9999-12-31")),
    ],
)
def test_a_time_is_written_in_utc(at: str, shown: tuple[str, str, str]) -> None:
    time = datetime.fromisoformat(at)
    assert (second(time), minute(time), day(time)) == shown
