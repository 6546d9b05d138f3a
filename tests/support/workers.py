"""Several workers at one state table, as functions that run at the same time are; and values that try its encoding."""

from dataclasses import dataclass
from datetime import timedelta

from hypothesis import strategies as st

from rolekeeper.instances.change_limit import ChangeLimiter
from rolekeeper.mappings.revisions import Revisions
from rolekeeper.model import (
    Action,
    AppliedChange,
    Condition,
    DesiredChange,
    Grant,
    MappingKey,
    MappingSpec,
    WhenStopped,
)
from rolekeeper.settings import Limits
from rolekeeper.storage.state import State, Timers
from rolekeeper.storage.table import Store
from support.calls import Calls
from support.clock import START
from support.fake_dynamodb import FakeDynamoDB
from support.state_table import STATE_TABLE, table_keys

WINDOW_MINUTES = 3


@dataclass(frozen=True)
class Worker:
    """One function's process: all parts of the state table, over one client."""

    store: Store
    state: State
    revisions: Revisions
    timers: Timers
    window: ChangeLimiter


def state_table(calls: Calls | None = None) -> FakeDynamoDB:
    """A client of an empty state table of its own; `calls` lets others come in between two of its calls."""
    return FakeDynamoDB({STATE_TABLE: table_keys("StateTable")}, calls)


def worker(client: FakeDynamoDB, limits: Limits = Limits(2, 0)) -> Worker:  # noqa: B008  # a value
    """One more worker at the table."""
    store = Store(client, STATE_TABLE, sleep=lambda _seconds: None)  # type: ignore[arg-type]  # shaped like a client
    window = ChangeLimiter(store, limits, WINDOW_MINUTES)
    return Worker(store, State(store), Revisions(store), Timers(store), window)


# ---- values whose parts hold what separates them in the table ----

texts = st.sampled_from(["", "#", ":", "1:a", "a#b", "*", "grant:1", "record", "ключ 🗝", "a\nb"]) | st.text(max_size=4)
_names = texts.filter(bool)
tricky_keys = st.builds(MappingKey, _names, texts)
moments = st.integers(0, 9 * 60).map(lambda seconds: START + timedelta(seconds=seconds, microseconds=seconds))
desired_changes = st.builds(DesiredChange, tricky_keys, st.integers(0, 3), texts)
applied_changes = st.builds(AppliedChange, desired_changes, moments)
conditions = st.builds(
    Condition,
    action=st.sampled_from(Action),
    code=texts,
    reason=texts,
    since=moments,
    fingerprint=texts,
    watched_until=st.none() | moments,
    parked=st.booleans(),
)
grants = st.builds(Grant, profile_arn=texts, role=texts, mapping=tricky_keys, revision=st.integers(0, 3), at=moments)
tricky_specs = st.builds(
    MappingSpec,
    key=tricky_keys,
    role=texts,
    instance_profile=texts,
    priority=st.integers(1, 50_000),
    enabled=st.booleans(),
    when_stopped=st.sampled_from(WhenStopped),
    require_tags=st.dictionaries(_names, texts, max_size=2),
    accounts=st.frozensets(texts, max_size=2),
    expires_at=st.none() | moments,
    owner=texts,
    description=texts,
)
