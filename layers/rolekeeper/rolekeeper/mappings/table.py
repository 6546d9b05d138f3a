"""The mapping table, which ops teams edit: reading rows as they are, and writing our verdict into them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import Update, codec

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient


# Said in a row that has no room for more (an item holds 400 KB, DynamoDB "Service quotas").
NO_ROOM = "The row is too large for the reason; see the mapping's history."
_VERDICT = ("status", "status_reason", "status_revision")


@dataclass(frozen=True, slots=True)
class Columns:
    """Our columns of a row: the verdict on it.

    Attributes:
        matched: how many instances it governs, and `occupied` how many of them carry a foreign role; None: as it was.
        held: the revision that waits for approval; 0: none does, and the column goes. None: as it was.
        done: the columns that people ask by and that are acted on: they go, as long as they say what was read.
    """

    status: str
    reason: str = ""
    revision: int = 0
    matched: int | None = None
    occupied: int | None = None
    held: int | None = 0
    done: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, Any]:
        """The columns to set, by name."""
        counts = {"matched": self.matched, "occupied": self.occupied, "held_revision": self.held or None}
        return {
            "status": str(self.status),
            "status_reason": self.reason,
            "status_revision": self.revision,
            **{name: value for name, value in counts.items() if value is not None},
        }

    def gone(self, row: Attributes) -> list[str]:
        """The columns to take away from a row."""
        held = ["held_revision"] if self.held == 0 else []
        return [name for name in (*held, *self.done) if name in row]


class MappingTable:
    """The mapping table of one deployment. Errors come classified.

    A row is only written while it is as it was read: a ConflictError says that it was edited, or went, meanwhile. So of
    two verdicts the later reader's stands, and nothing that somebody asks meanwhile is lost.
    """

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def get_row(self, key: MappingKey) -> Attributes | None:
        """A row as it is now, in DynamoDB's low-level form."""
        answer = self._call("GetItem", self._client.get_item, Key=_key(key), ConsistentRead=True)
        row: Attributes | None = answer.get("Item")
        return row

    def keys(self) -> Iterator[list[MappingKey]]:
        """Pages of the keys of every row."""
        return self._pages("Scan", self._client.scan)

    def keys_of(self, tag_key: str) -> Iterator[list[MappingKey]]:
        values = {":tag_key": {"S": tag_key}}
        return self._pages(
            "Query", self._client.query, KeyConditionExpression="tag_key = :tag_key", ExpressionAttributeValues=values
        )

    def write(self, key: MappingKey, row: Attributes, columns: Columns) -> bool:
        """Write our verdict into a row whose verdict is still the one that `row` shows, and take away what is done.

        False when the row is so near to 400 KB that not even a short reason fits.
        """
        gone = columns.gone(row)
        for reason in (columns.reason, NO_ROOM, ""):
            update = _if_as_read(row, (*_VERDICT, *gone)).remove(*gone)
            update.set({**columns.shown, "status_reason": reason})
            try:
                self._call("UpdateItem", self._client.update_item, Key=_key(key), **update.expression())
            except PermanentError as error:
                # What DynamoDB answers to an item that would outgrow 400 KB; nothing else here can be invalid.
                if error.code != "ValidationException":
                    raise
            else:
                return True
        return False

    def put_back(self, row: Attributes, columns: Columns) -> None:
        """Put a row where there is none."""
        item = {**row, **codec.to_attributes(columns.shown)}
        self._call("PutItem", self._client.put_item, Item=item, ConditionExpression="attribute_not_exists(tag_key)")

    def delete(self, key: MappingKey, row: Attributes, names: Sequence[str]) -> None:
        """Delete a row for which somebody approved that, while these columns read as they did."""
        condition = _if_as_read(row, names).condition()
        self._call("DeleteItem", self._client.delete_item, Key=_key(key), **condition)

    def _pages(self, operation: str, call: Any, **arguments: Any) -> Iterator[list[MappingKey]]:
        arguments |= {"ConsistentRead": True, "ProjectionExpression": "tag_key, tag_value"}
        while True:
            answer = self._call(operation, call, **arguments)
            yield [MappingKey(each["tag_key"]["S"], each["tag_value"]["S"]) for each in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _call(self, operation: str, call: Any, **arguments: Any) -> Any:
        with classified(f"dynamodb:{operation}", self._table):
            return call(TableName=self._table, **arguments)


def already_says(row: Attributes, columns: Columns) -> bool:
    """Whether a row already holds exactly this verdict."""
    return not columns.gone(row) and all(_plain(row.get(name)) == value for name, value in columns.shown.items())


def verdict_differs(row: Attributes, columns: Columns) -> bool:
    """Whether this is news to a row: another status, reason or revision, or another revision held.

    A mere count isn't, and what would happen if the revision that is held were approved is such a count.
    """
    was = tuple(_plain(row.get(name)) for name in _VERDICT)
    if columns.held:
        return (was[0], number_in(row, "held_revision")) != (columns.status, columns.held)
    return was != (columns.status, columns.reason, columns.revision)


def number_in(row: Attributes, name: str) -> int:
    """The whole number in one of our columns; people can write anything there, and that is 0."""
    try:
        return int(Decimal(row.get(name, {}).get("N", "0")))
    except (AttributeError, ArithmeticError, TypeError, ValueError):
        return 0


def _plain(attribute: Any) -> Any:
    return codec.plain(attribute) if attribute else None


def _key(key: MappingKey) -> Attributes:
    return codec.to_attributes(codec.encode(key))


def _if_as_read(row: Attributes, names: Sequence[str]) -> Update:
    """An update that holds only while there is a row, and these columns of it read as they did.

    The first condition keeps a row that was deleted meanwhile from rising again as a stub.
    """
    seen = {name: codec.plain(row[name]) for name in names if name in row}
    return Update().only_if_present("tag_key").only_as(seen, *names)
