"""Published mappings and their revisions, in the state table. What is served is the last one; all are kept."""

from collections.abc import Mapping
from datetime import datetime

from rolekeeper import codec
from rolekeeper.model import Held, MappingKey, PublishedMapping, Timer
from rolekeeper.store import Store, Update


class Revisions:
    """The mappings' part of the state table. Errors come classified."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def published(self, key: MappingKey) -> PublishedMapping | None:
        """One published mapping or its tombstone, as it is now.

        Raises:
            DamagedError: it isn't what we wrote.
        """
        at = codec.published_key(key)
        items = self._store.get([at])
        return self._store.decode(codec.published_from, items[at]) if items else None

    def held(self, key: MappingKey) -> Held | None:
        """The revision of a mapping that was held last, which may have been approved or overtaken since.

        Raises:
            DamagedError: it isn't what we wrote.
        """
        at = codec.held_key(key)
        items = self._store.get([at])
        return self._store.decode(codec.held_from, items[at]) if items else None

    def publish(self, mapping: PublishedMapping, entry: Mapping[str, object], at: datetime, *, credit: int = 0) -> None:
        """Serve a mapping from now on, and keep it as a revision with its history entry, in one transaction.

        Args:
            mapping: the new revision.
            entry: the history entry; the revision keeps it too.
            at: when.
            credit: replaces and detaches that somebody approved: its window lets them through (see `window`).

        Raises:
            ObserveAgainError: somebody published another revision meanwhile.
        """
        item = codec.published_item(mapping)
        revision = {**entry, **item, "sk": codec.revision_sk(mapping.revision), "at": codec.timestamp(at)}
        writes = [
            self._store.put(item, if_higher="revision"),
            self._store.put(revision),
            self._store.entry(codec.mapping_pk(mapping.key), entry, at),
        ]
        expires_at = mapping.spec.expires_at
        if expires_at and expires_at > at and not mapping.deleted:
            writes.append(self._store.put(codec.timer_item(Timer(expires_at, mapping.key))))
        if credit:
            granted = Update().set("credit", credit).set("credit_revision", mapping.revision)
            writes.append(self._store.update(codec.window_key(mapping.key), granted))
        self._store.write(*writes)

    def hold(self, held: Held, entry: Mapping[str, object], at: datetime) -> None:
        """Keep a revision that waits for approval, with its history entry, in one transaction.

        Raises:
            ObserveAgainError: somebody held another one meanwhile.
        """
        history = self._store.entry(codec.mapping_pk(held.key), entry, at)
        self._store.write(self._store.put(codec.held_item(held), if_higher="revision"), history)

    def suspend(self, mapping: PublishedMapping, why: str, entry: Mapping[str, object], at: datetime) -> None:
        """Mark a published mapping as not servable for now (or, with an empty reason, servable again).

        Raises:
            ObserveAgainError: another revision was published meanwhile.
        """
        update = Update().set("suspended", why).only_if("revision", "=", mapping.revision)
        self._store.write(
            self._store.update(codec.published_key(mapping.key), update),
            self._store.entry(codec.mapping_pk(mapping.key), entry, at),
        )

    def note(self, key: MappingKey, entry: Mapping[str, object], at: datetime) -> None:
        """Write a history entry alone."""
        self._store.write(self._store.entry(codec.mapping_pk(key), entry, at))

    def history(self, key: MappingKey, limit: int = 50) -> list[codec.Item]:
        """The newest history entries of a mapping."""
        return self._store.history(codec.mapping_pk(key), limit)
