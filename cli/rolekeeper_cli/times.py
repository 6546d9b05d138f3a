"""How a time is written, for people and for programs: always in UTC."""

from datetime import UTC, datetime


def second(at: datetime) -> str:
    """Write a time as ISO 8601 has it, to the second: `2026-03-01T09:00:00Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
