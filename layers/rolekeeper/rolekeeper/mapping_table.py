"""The mapping table, which ops teams edit: reading rows as they are, and writing our verdict into them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from rolekeeper import codec
from rolekeeper.columns import Attributes
from rolekeeper.errors import PermanentError, classified
from rolekeeper.model import MappingKey

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

# Said in a row that has no room for more (an item holds 400 KB, DynamoDB "Service quotas").
NO_ROOM = "The row is too large for the reason; see the mapping's history."
_KEYS_ONLY = {"ProjectionExpression": "tag_key, tag_value"}
_VERDICT = ("status", "status_reason", "status_revision")


@dataclass(frozen=True, slots=True)
class Columns:
    """Our columns of a row. `matched` None: as it was."""

    status: str
    reason: str
    revision: int
    matched: int | None = None


class MappingTable:
    """The mapping table of one deployment. Errors come classified."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def get_row(self, key: MappingKey) -> Attributes | None:
        """A row as it is now, in DynamoDB's low-level form; None when there is none."""
        answer = self._call("GetItem", self._client.get_item, Key=_key(key), ConsistentRead=True)
        row: Attributes | None = answer.get("Item")
        return row

    def keys(self) -> Iterator[list[MappingKey]]:
        """Pages of the keys of every row."""
        return self._pages("Scan", self._client.scan, {})

    def keys_of(self, tag_key: str) -> Iterator[list[MappingKey]]:
        """Pages of the keys of the rows of one tag key."""
        condition = {
            "KeyConditionExpression": "tag_key = :tag_key",
            "ExpressionAttributeValues": {":tag_key": {"S": tag_key}},
        }
        return self._pages("Query", self._client.query, condition)

    def write(self, key: MappingKey, row: Attributes, columns: Columns) -> bool:
        """Write our verdict into a row whose verdict is still the one that `row` shows.

        Returns:
            False when the row is so near to 400 KB that not even a short reason fits.

        Raises:
            ObserveAgainError: the row is gone, was put again, or got another verdict meanwhile.
        """
        for reason in (columns.reason, NO_ROOM, ""):
            try:
                self._call("UpdateItem", self._client.update_item, **_update(key, row, columns, reason))
            except PermanentError as error:
                # What DynamoDB answers to an item that would outgrow 400 KB; nothing else here can be invalid.
                if error.code != "ValidationException":
                    raise
            else:
                return True
        return False

    def _pages(self, operation: str, call: Any, arguments: dict[str, Any]) -> Iterator[list[MappingKey]]:
        start: dict[str, Any] = {}
        while True:
            answer = self._call(operation, call, ConsistentRead=True, **_KEYS_ONLY, **arguments, **start)
            yield [MappingKey(each["tag_key"]["S"], each["tag_value"]["S"]) for each in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _call(self, operation: str, call: Any, **arguments: Any) -> Any:
        with classified(f"dynamodb:{operation}", self._table):
            return call(TableName=self._table, **arguments)


def already_says(row: Attributes, columns: Columns) -> bool:
    """Whether a row already holds exactly this verdict."""
    return _shown(row) == (columns.status, columns.reason, columns.revision) and (
        columns.matched is None or row.get("matched") == {"N": str(columns.matched)}
    )


def verdict_differs(row: Attributes, columns: Columns) -> bool:
    """Whether this is news to a row: another status, reason or revision. A mere count isn't."""
    return _shown(row) != (columns.status, columns.reason, columns.revision)


def _shown(row: Attributes) -> tuple[Any, ...]:
    shown = (_plain(row.get(name)) for name in _VERDICT)
    return tuple(shown)


def _plain(attribute: Any) -> Any:
    return TypeDeserializer().deserialize(attribute) if attribute else None


def _key(key: MappingKey) -> Attributes:
    return codec.to_attributes(codec.mapping_text(key))


def _update(key: MappingKey, row: Attributes, columns: Columns, reason: str) -> dict[str, Any]:
    """An update that holds only while our columns read as they did: of two verdicts the later reader's stands."""
    values = {"status": columns.status, "status_reason": reason, "status_revision": columns.revision}
    if columns.matched is not None:
        values["matched"] = columns.matched
    names = {f"#{name}": name for name in values}
    was = {f":was_{name}": row[name] for name in _VERDICT if name in row}
    # attribute_exists keeps a row that was deleted meanwhile from rising again as a stub.
    conditions = ["attribute_exists(tag_key)"] + [
        f"#{name} = :was_{name}" if name in row else f"attribute_not_exists(#{name})" for name in _VERDICT
    ]
    return {
        "Key": _key(key),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": codec.to_attributes({f":{name}": value for name, value in values.items()}) | was,
    }
