"""Random reads and writes of the state table: what an update may change, on which conditions."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from rolekeeper.storage import layout
from rolekeeper.storage.state import Store, Update, Write

keys = st.tuples(st.sampled_from(["a", "a", "a", "b"]), st.sampled_from(["record", "x#1", "x#2", "x#10", "é"]))
# Moto can't add 1E+2; what becomes of numbers is told below.
numbers: st.SearchStrategy[Any] = st.sampled_from([0, 1, 2, 7, -1, Decimal("1.50"), 10**20])
sets = st.frozensets(st.sampled_from(["p", "q", "r"]), min_size=1)
texts = st.sampled_from(["", "t", "u"])
# Each attribute has a type of its own: to what doesn't fit, moto and AWS answer differently in a transaction.
values = {"revision": numbers, "total": numbers, "blocks": sets, "status": texts, "intent:a": st.just({"to": ["x", 1]})}
names = st.sampled_from(sorted(values))

items = st.fixed_dictionaries(
    {"revision": numbers}, optional={name: values[name] for name in values if name != "revision"}
)


def _changes(name: str) -> st.SearchStrategy[tuple[str, Any]]:
    """How an update may change an attribute, and with which value."""
    ways = {"revision": ["add"], "total": ["add"], "blocks": ["add", "discard"]}.get(name, [])
    return st.tuples(st.sampled_from(["set", *ways]), values[name]) | st.just(("remove", None))


def _update_of(changes: dict[str, tuple[str, Any]], conditions: list[tuple[str, str, Any]]) -> Update:
    update = Update()
    for name, (how, value) in changes.items():
        if how == "set":
            update.set({name: value})
        elif how == "remove":
            update.remove(name)
        else:
            getattr(update, how)(name, value)
    for how, name, value in conditions:
        if how == "absent":
            update.only_as({}, name)
        elif how == "present":
            update.only_if_present(name)
        else:
            update.only_if(name, how.removesuffix(" or absent"), value, or_absent="or" in how)
    return update


equal = st.tuples(st.sampled_from(["=", "<>", "= or absent", "absent", "present"]), names, st.one_of(*values.values()))
ordered = st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.just("total"), numbers)
updates = st.builds(
    _update_of,
    st.fixed_dictionaries({}, optional={name: _changes(name) for name in values}).filter(bool),
    st.lists(equal | ordered, max_size=2),
)


def put(store: Store, key: layout.Key, item: layout.Item, **conditions: Any) -> Write:
    return store.put({**item, **layout.key_attributes(key)}, **conditions)


def written(store: Store, writes: list[Callable[[Store], Write]]) -> None:
    store.write(*(write(store) for write in writes))


def _items(store: Store, pk: str, until: str, after: str) -> list[layout.Item]:
    """An empty `after` begins at the beginning; one behind `until` is refused by AWS alone."""
    return list(store.items(pk, max(until, after), after))


def _call(store: Store, method: str, **arguments: Any) -> Any:
    """Call a copy's own method, if it has one."""
    return getattr(store, method)(**arguments)


def step(act: Callable[..., Any], **arguments: Any) -> st.SearchStrategy[partial[Any]]:
    return st.builds(partial, st.just(act), **arguments)


same = st.sampled_from([[], ["blocks"]])
puts = step(put, key=keys, item=items)
writes = st.one_of(
    step(put, key=keys, item=items, if_higher=st.sampled_from(["", "revision"]), if_same=same),
    step(_call, method=st.just("update"), key=keys, update=updates),
    step(_call, method=st.just("update"), key=keys, update=updates),
    step(_call, method=st.just("delete"), key=keys),
)
partitions, sorts_after = st.sampled_from(["a", "b"]), st.sampled_from(["", "record", "x#1", "x#15"])
steps = st.one_of(
    step(written, writes=st.lists(writes, min_size=1, max_size=1)),
    step(written, writes=st.lists(writes, min_size=2, max_size=3)),
    step(_call, method=st.just("get"), keys=st.lists(keys, unique=True, min_size=1, max_size=4)),
    step(_items, pk=partitions, until=keys.map(itemgetter(1)), after=sorts_after),
    step(
        _call,
        method=st.just("last"),
        pk=partitions,
        prefix=st.sampled_from(["x#", "x#1", "r", "none"]),
        limit=st.integers(1, 3),
    ),
)
