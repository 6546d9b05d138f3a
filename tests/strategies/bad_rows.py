"""The corpus of malformed rows, tests/data/bad_rows.yaml, as the tests take it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CORPUS = Path(__file__).parents[1] / "data/bad_rows.yaml"
REFUSED = "refused at put"


@dataclass(frozen=True)
class BadRow:
    """One entry. `columns` is in DynamoDB's low-level form; None takes a column of the good row away."""

    name: str
    columns: dict[str, Any]
    status: str
    reason: str
    whole: bool
    reads: dict[str, Any]

    @property
    def has_its_own_tag(self) -> bool:
        """Whether the tag is what is odd with it."""
        return bool({"tag_key", "tag_value"} & set(self.columns))


def corpus() -> Iterator[BadRow]:
    """Every entry, in order."""
    for group, content in yaml.safe_load(CORPUS.read_text()).items():
        for number, entry in enumerate(content["rows"], 1):
            yield BadRow(
                name=f"{group}-{number}",
                columns=expanded(entry["row"]),
                status=content["status"],
                reason=entry.get("reason") or entry.get("mentions", ""),
                whole="reason" in entry,
                reads=entry.get("reads", {}),
            )


def expanded(value: Any) -> Any:
    """A value with what it describes written out; see the head of the file."""
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "repeat" in value:
        return value["repeat"] * value["times"]
    if "numbered" not in value:
        return {name: expanded(each) for name, each in value.items()}
    rest = {name: expanded(each) for name, each in value.items() if name not in {"numbered", "times", "each"}}
    numbered = [value["numbered"].format(number) for number in range(value["times"])]
    return {**rest, **dict.fromkeys(numbered, value["each"])} if "each" in value else numbered
