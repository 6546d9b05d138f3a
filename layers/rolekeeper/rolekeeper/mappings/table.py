"""The mapping table, which ops teams edit: reading rows as they are, and each written only if it still reads so."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import batched
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper.mappings.rows import Attributes
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import Update, layout
from rolekeeper.storage.state import BATCH_KEYS, batch_get, pages

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

# Said in a row that has no room for more (an item holds 400 KB, DynamoDB "Service quotas").
NO_ROOM = "The row is too large for the reason; see the mapping's history."
_KEYS_ONLY = {"ProjectionExpression": "tag_key, tag_value"}
VERDICT = ("status", "status_reason", "status_revision")  # if one of these changed meanwhile, a later verdict did that


@dataclass(frozen=True)
class MappingTable:
    """One deployment's mapping table. A ConflictError says that a row isn't as it was read: it was edited, or went."""

    client: "DynamoDBClient"
    name: str
    sleep: Callable[[float], None] = time.sleep

    def get_row(self, key: MappingKey) -> Attributes | None:
        found: dict[str, Any] = self._call("GetItem", self.client.get_item, Key=_key(key), ConsistentRead=True)
        return found.get("Item")

    def get_rows(self, keys: Iterable[MappingKey]) -> dict[MappingKey, Attributes]:
        found: list[dict[str, Any]] = []
        for some in batched(keys, BATCH_KEYS):
            found += batch_get(self.client.batch_get_item, self.name, list(map(_key, some)), sleep=self.sleep)
        return {_key_of(row): row for row in found}

    def all_rows(self) -> dict[MappingKey, Attributes]:
        rows = {_key_of(row): row for page in pages("Scan", self.client.scan, self.name) for row in page}
        return dict(sorted(rows.items(), key=lambda item: item[0]))

    def keys(self) -> Iterator[list[MappingKey]]:
        """Yield the keys of every row, by pages."""
        for page in pages("Scan", self.client.scan, self.name, **_KEYS_ONLY):
            yield list(map(_key_of, page))

    def keys_of(self, tag_key: str) -> Iterator[list[MappingKey]]:
        asked = {"KeyConditionExpression": "tag_key = :key", "ExpressionAttributeValues": {":key": {"S": tag_key}}}
        for page in pages("Query", self.client.query, self.name, **_KEYS_ONLY, **asked):
            yield list(map(_key_of, page))

    def write(self, key: MappingKey, row: Attributes, columns: Mapping[str, Any], gone: Sequence[str]) -> bool:
        """Write our columns, take away what is `gone`; False for a row so near to 400 KB that no short reason fits."""
        text = {name: value for name, value in columns.items() if name != "status_details"}
        for written in (columns, text, *({**text, "status_reason": reason} for reason in (NO_ROOM, ""))):
            update = if_as_read(row, (*VERDICT, *gone)).remove(*gone, *(columns.keys() - written.keys()))
            update.set(written)
            try:
                self.update(key, update)
            except PermanentError as error:
                # What DynamoDB answers to an item that would outgrow 400 KB; nothing else here can be invalid.
                if error.code != "ValidationException":
                    raise
            else:
                return True
        return False

    def put(self, row: Attributes, condition: Update | None = None) -> None:
        """Put a row if `condition` holds; by default, if it doesn't exist."""
        only_if = condition.arguments() if condition else {"ConditionExpression": "attribute_not_exists(tag_key)"}
        self._call("PutItem", self.client.put_item, Item=row, **only_if)

    def update(self, key: MappingKey, update: Update) -> None:
        self._call("UpdateItem", self.client.update_item, Key=_key(key), **update.arguments())

    def delete(self, key: MappingKey, condition: Update) -> None:
        self._call("DeleteItem", self.client.delete_item, Key=_key(key), **condition.arguments())

    def _call(self, operation: str, call: Any, **arguments: Any) -> Any:
        with classified(f"dynamodb:{operation}", self.name):
            return call(TableName=self.name, **arguments)


def number_in(row: Attributes, name: str) -> int:
    """Return the whole number in one of our columns; people can write anything there, and that is 0."""
    try:
        return int(Decimal(row.get(name, {}).get("N", "0")))
    except (AttributeError, ArithmeticError, TypeError, ValueError):
        return 0


def _key(key: MappingKey) -> dict[str, Any]:
    return layout.to_attributes(layout.encode(key))


def _key_of(row: Attributes) -> MappingKey:
    return MappingKey(row["tag_key"]["S"], row["tag_value"]["S"])


def if_as_read(row: Attributes, names: Iterable[str]) -> Update:
    """Make an update for a row that exists, and whose columns read as they did: none is revived."""
    read = {name: layout.plain(row[name]) for name in names if name in row}
    return Update().only_if_present("tag_key").only_as(read, *names)
