"""The table at the end of the demo: what it has of several accounts fits into a narrow terminal."""

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from rolekeeper_local import story

INSTANCE = "i-0d335658eaf208951"


@dataclass
class World:
    """A target that one instance is in."""

    account: str
    region: str


def test_accounts_regions_and_ids_are_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (INSTANCE, "web", "running", "workload=s3-reader", "s3-read", "workload=s3-reader", "because it is so")
    monkeypatch.setattr(story, "_cells", lambda _world: [cells])
    worlds: list[object] = [World("111111111111", "eu-west-1"), World("222222222222", "us-east-1")]
    drawn = io.StringIO()
    Console(file=drawn, width=80).print(story.fleet_table(worlds))  # type: ignore[arg-type]
    lines = drawn.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for account, region in (("111111111111", "eu-west-1"), ("222222222222", "us-east-1")):
        assert any(f"│ {account} │ {region} │ {INSTANCE} │ s3-read " in line for line in lines)
