"""The mapping table, which ops teams edit: reading rows as they are, and writing our verdict into them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.model import MappingKey
from rolekeeper.storage import codec, layout

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient


# Said in a row that has no room for more (an item holds 400 KB, DynamoDB "Service quotas").
NO_ROOM = "The row is too large for the reason; see the mapping's history."
_KEYS_ONLY = {"ProjectionExpression": "tag_key, tag_value"}
_VERDICT = ("status", "status_reason", "status_revision")


@dataclass(frozen=True, slots=True)
class Columns:
    """Our columns of a row.

    Attributes:
        status: and `reason` and `revision`: the verdict.
        matched: how many instances it governs, and `occupied` how many of them carry a foreign role; None: as it was.
        held: the revision that waits for approval; 0: none does, and the column goes. None: as it was.
        done: the columns that people ask by and that are acted on: they go, as long as they say what was read.
    """

    status: str
    reason: str
    revision: int
    matched: int | None = None
    occupied: int | None = None
    held: int | None = 0
    done: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, Any]:
        """The columns to set, by name."""
        counts = {"matched": self.matched, "occupied": self.occupied, "held_revision": self.held or None}
        return {
            "status": self.status,
            "status_reason": self.reason,
            "status_revision": self.revision,
            **{name: value for name, value in counts.items() if value is not None},
        }

    def gone(self, row: Attributes) -> list[str]:
        """The columns to take away from a row."""
        held = ["held_revision"] if self.held == 0 else []
        return [name for name in (*held, *self.done) if name in row]


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
        """Write our verdict into a row whose verdict is still the one that `row` shows, and take away what is done.

        Returns:
            False when the row is so near to 400 KB that not even a short reason fits.

        Raises:
            ConflictError: the row is gone, was put again, or got another verdict meanwhile.
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

    def put_back(self, row: Attributes, columns: Columns) -> None:
        """Put a row where there is none.

        Raises:
            ConflictError: there is one by now.
        """
        item = {**row, **codec.to_attributes(columns.shown)}
        self._call("PutItem", self._client.put_item, Item=item, ConditionExpression="attribute_not_exists(tag_key)")

    def delete(self, key: MappingKey, row: Attributes, names: Iterable[str]) -> None:
        """Delete a row for which somebody approved that.

        Args:
            key: the row's.
            row: the row as it was read.
            names: the columns that must say the same, or still be absent.

        Raises:
            ConflictError: it was edited meanwhile, or is gone.
        """
        conditions, attributes, values = _as_read(row, names)
        self._call(
            "DeleteItem",
            self._client.delete_item,
            Key=_key(key),
            ConditionExpression=" AND ".join(["attribute_exists(tag_key)", *conditions]),
            ExpressionAttributeNames=attributes,
            ExpressionAttributeValues=values,
        )

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
    return codec.to_attributes(layout.mapping_text(key))


def _as_read(row: Attributes, names: Iterable[str]) -> tuple[list[str], dict[str, str], Attributes]:
    """The conditions that these columns are as they were read, with the names and values that they use."""
    names = list(names)
    conditions = [f"#{name} = :was_{name}" if name in row else f"attribute_not_exists(#{name})" for name in names]
    return (
        conditions,
        {f"#{name}": name for name in names},
        {f":was_{name}": row[name] for name in names if name in row},
    )


def _update(key: MappingKey, row: Attributes, columns: Columns, reason: str) -> dict[str, Any]:
    """An update that holds only while our columns, and those to take away, read as they did.

    So of two verdicts the later reader's stands, and nothing that somebody asks meanwhile is lost.
    """
    values = columns.shown | {"status_reason": reason}
    gone = columns.gone(row)
    conditions, names, was = _as_read(row, dict.fromkeys((*_VERDICT, *gone)))
    removing = " REMOVE " + ", ".join(f"#{name}" for name in gone) if gone else ""
    return {
        "Key": _key(key),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values) + removing,
        # attribute_exists keeps a row that was deleted meanwhile from rising again as a stub.
        "ConditionExpression": " AND ".join(["attribute_exists(tag_key)", *conditions]),
        "ExpressionAttributeNames": names | {f"#{name}": name for name in values},
        "ExpressionAttributeValues": {
            **codec.to_attributes({f":{name}": value for name, value in values.items()}),
            **was,
        },
    }
