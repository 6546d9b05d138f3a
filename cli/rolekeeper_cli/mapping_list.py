"""The mappings as a list: what is in effect of each row, what waits, and what Rolekeeper says of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rolekeeper_cli import render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.tables import Column, Layout
from rolekeeper_cli.views import mappings

_UNJUDGED = "not judged yet"


def show(deployment: Deployment, status: str | None) -> None:
    """List the mappings, those of one status if it is given."""
    documents = mappings.rows(deployment)
    shown = [each for each in documents if status in (None, each["status"])]
    render.show_list(LAYOUT, shown, empty=lambda: _empty(documents, status), total=lambda: f"{_counts(shown)}.")


def _counts(documents: Sequence[Mapping[str, Any]]) -> str:
    statuses = Counter(each["status"] or _UNJUDGED for each in documents)
    many = "1 mapping" if len(documents) == 1 else f"{len(documents):,} mappings"
    return f"{many}: {', '.join(f'{count:,} {status}' for status, count in statuses.most_common())}"


def _empty(documents: Sequence[Mapping[str, Any]], status: str | None) -> str:
    if not documents:
        return (
            "There are no mappings yet. Write one: rolekeeper mapping set workload=web role=web, "
            "or many: rolekeeper mapping import mappings.yaml"
        )
    return f"No mapping is {status}. Of {_counts(documents)}. See them: rolekeeper mapping ls"


def _reason(document: Mapping[str, Any]) -> str:
    reason = document["status_reason"] or ""
    return "" if mappings.all_is_well(reason) else reason


def _column(name: str) -> Column:
    return Column(name, lambda each: each["columns"].get(name), wide=True)


LAYOUT = Layout(
    (
        Column("mapping"),
        Column("role", mappings.role_in_words, folds=True),
        Column("status", lambda each: each["status"] or _UNJUDGED),
        Column("revision", lambda each: each["status_revision"]),
        Column("matched"),
        *map(_column, ("priority", "enabled", "owner", "expires_at")),
    ),
    note=_reason,
)
