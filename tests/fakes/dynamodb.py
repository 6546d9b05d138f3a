"""A boto3-shaped DynamoDB client over tables in memory: the same answers and the same errors, in the process.

It knows the operations, arguments and expressions that Rolekeeper uses and the rules that AWS documents for them; at
anything else it raises NotImplementedError. A read that isn't consistent sees each item as it was before the last write
to it. It keeps values as it gets them, so nobody may change one that was written or read (items are copied, their
values aren't).
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ParamValidationError

from fakes import dynamodb_expressions as expressions
from fakes.calls import Calls
from fakes.dynamodb_expressions import Change, Condition, Names, Values
from fakes.dynamodb_tables import MATCHES, Items, Key, Row, Table
from fakes.dynamodb_values import ITEM_BYTES, Item, RefusedError, item_size, stored_item

type Request = Mapping[str, Any]

# DynamoDB developer guide, "Quotas", and API reference, "BatchGetItem", "Query", "TransactWriteItems".
BATCH_KEYS, TRANSACTION_WRITES = 100, 100
BATCH_BYTES, PAGE_BYTES, TRANSACTION_BYTES = 16 * 1024**2, 1024**2, 4 * 1024**2

_CONDITION = {"ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"}
_READING = {"TableName", "ConsistentRead", "ProjectionExpression"}
_PAGING = {*_READING, "Limit", "ExclusiveStartKey"}
# AWS_FACTS.md "IAM": what `*` in a condition on dynamodb:LeadingKeys doesn't match.
_UNMATCHED = re.compile("[\n\r\u2028\u2029]")


class FakeDynamoDB:
    """The operations that Rolekeeper calls.

    Args:
        tables: the names of each table's key attributes, the partition's first. All are strings.
        calls: is told of each call.
        guarded: the tables whose partitions policies name (dynamodb:LeadingKeys).
        page_items: how many items a page of a query or a scan has at most; None for as many as 1 MB holds. That may be
            as few as two, as an item may have 400 KB, and whoever reads the first page alone has to be noticed.

    Attributes:
        on_change: is told of each item that a write made another, once all of the write took effect: the table, the
            item's key, and the item before and after (None: there is none). What it is given may not be changed.
        before_writes: is told the partitions of a write before it takes effect; may raise a RefusedError.
        unprocessed: so many more answers of BatchGetItem leave out all that they were asked for.
    """

    def __init__(
        self,
        tables: Mapping[str, tuple[str, ...]],
        calls: Calls | None = None,
        *,
        page_items: int | None = 2,
        guarded: Collection[str] = (),
    ) -> None:
        self.page_items = page_items
        self._tables = {name: Table(name, keys) for name, keys in tables.items()}
        self._guarded = guarded
        self._calls = calls
        self.on_change: Callable[[str, Key, Item | None, Item | None], None] | None = None
        self.before_writes: Callable[[Sequence[str]], object] = lambda _: None
        self.unprocessed = 0

    def add_table(self, name: str, keys: tuple[str, ...]) -> None:
        self._tables[name] = Table(name, keys)

    def items(self, name: str) -> list[Item]:
        """All items of a table as they are, for a test to look at; no call."""
        return [dict(row.item) for row in self._tables[name].present.rows(None)]

    # ---- reading ----

    def get_item(self, **request: Any) -> Item:
        return self._call("GetItem", self._get_item, request)

    def batch_get_item(self, **request: Any) -> Item:
        return self._call("BatchGetItem", self._batch_get_item, request)

    def query(self, **request: Any) -> Item:
        return self._call("Query", self._query, request)

    def scan(self, **request: Any) -> Item:
        """Scan: the partitions in an order that means nothing and is always the same."""
        return self._call("Scan", self._scan, request)

    # ---- writing ----

    def put_item(self, **request: Any) -> Item:
        return self._call("PutItem", self._write_one, {"Put": request})

    def update_item(self, **request: Any) -> Item:
        return self._call("UpdateItem", self._write_one, {"Update": request})

    def delete_item(self, **request: Any) -> Item:
        return self._call("DeleteItem", self._write_one, {"Delete": request})

    def transact_write_items(self, **request: Any) -> Item:
        return self._call("TransactWriteItems", self._transact_write_items, request)

    # ---- how ----

    def _call(self, operation: str, act: Callable[[Request], Item], request: Request) -> Item:
        if self._calls:
            self._calls.starts(operation)
        refusal = None
        answer: Item = {}
        try:
            answer = act(request)
        except RefusedError as refused:
            refusal = refused.for_client(operation)
        # botocore's `after-call` comes after a refusal too (botocore.client, `_make_api_call`).
        if self._calls:
            self._calls.ends(operation)
        if refusal:
            raise refusal
        return answer

    def _table(self, request: Request) -> "Table":
        table = self._tables.get(request["TableName"])
        if table is None:
            raise RefusedError("Requested resource not found", "ResourceNotFoundException")
        return table

    def _permit(self, table: "Table", partition: str) -> None:
        if table.name in self._guarded and _UNMATCHED.search(partition):
            raise RefusedError(f"User is not authorized to perform this on {table.name}", "AccessDeniedException")

    def _get_item(self, request: Request) -> Item:
        _known(request, {*_READING, "Key"})
        table = self._table(request)
        shown = _shown(request)
        found = _seen(table, request).find(table.key(request["Key"]))
        return {"Item": shown(found.item)} if found else {}

    def _batch_get_item(self, request: Request) -> Item:
        _known(request, {"RequestItems"})
        wanted = [(name, asked, key) for name, asked in request["RequestItems"].items() for key in asked["Keys"]]
        if not wanted:
            raise ParamValidationError(report="Invalid length for parameter RequestItems.Keys")
        if len(wanted) > BATCH_KEYS:
            raise RefusedError("Too many items requested for the BatchGetItem call")
        answers: dict[str, list[Item]] = {name: [] for name in request["RequestItems"]}
        left: dict[str, Item] = {}
        keys = set()
        size = 0
        for name, asked, given in wanted:
            _known(asked, {"Keys", "ConsistentRead"})
            table = self._table({"TableName": name})
            key = table.key(given)
            self._permit(table, key[0])
            if (name, key) in keys:
                raise RefusedError("Provided list of item keys contains duplicates")
            keys.add((name, key))
            found = _seen(table, asked).find(key)
            size += found.size if found else 0
            if self.unprocessed or size > BATCH_BYTES:
                left.setdefault(name, {**asked, "Keys": []})["Keys"].append(given)
            elif found:
                answers[name].append(dict(found.item))
        self.unprocessed = max(0, self.unprocessed - 1)
        return {"Responses": answers, "UnprocessedKeys": left}

    def _query(self, request: Request) -> Item:
        _known(request, {*_PAGING, "KeyConditionExpression", "ExpressionAttributeValues", "ScanIndexForward"})
        table = self._table(request)
        condition = expressions.key_condition(request["KeyConditionExpression"])
        names, values = _placeholders(request, ("KeyCondition", condition))
        pk, comparison, sort = table.asked(condition, names, values)
        self._permit(table, pk)
        partition = _seen(table, request).partition(pk)
        low, high = partition.range(comparison, sort)
        forward = request.get("ScanIndexForward", True)
        if "ExclusiveStartKey" in request:
            start = table.key(request["ExclusiveStartKey"])
            if start[0] != partition.name:
                raise RefusedError("The provided starting key is outside query boundaries based on provided conditions")
            if not MATCHES[comparison](start[-1], sort):
                raise RefusedError("The provided starting key does not match the range key predicate")
            if forward:
                low = max(low, partition.behind(start[-1]))
            else:
                high = min(high, partition.at(start[-1]))
        rows = partition.rows(low, high)
        return self._page(table, rows if forward else reversed(list(rows)), request)

    def _scan(self, request: Request) -> Item:
        _known(request, _PAGING)
        table = self._table(request)
        start = request.get("ExclusiveStartKey")
        return self._page(table, _seen(table, request).rows(table.key(start) if start else None), request)

    def _page(self, table: Table, rows: Iterable[Row], request: Request) -> Item:
        """The first rows: as many as are asked for, or fit."""
        if "Limit" in request and request["Limit"] < 1:
            raise ParamValidationError(report="Invalid value for parameter Limit, valid min value: 1")
        limits = [limit for limit in (request.get("Limit"), self.page_items) if limit]
        limit, shown = min(limits, default=0), _shown(request)
        items: list[Item] = []
        size = 0
        for row in rows:
            size += row.size
            items.append(shown(row.item))
            if len(items) == limit or size >= PAGE_BYTES:
                last = {name: row.item[name] for name in table.keys}
                return {"Items": items, "Count": len(items), "ScannedCount": len(items), "LastEvaluatedKey": last}
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def _write_one(self, request: Request) -> Item:
        self._commit([self._write(request).result()])
        return {}

    def _transact_write_items(self, request: Request) -> Item:
        _known(request, {"TransactItems"})
        asked = request["TransactItems"]
        if not asked:
            raise ParamValidationError(report="Invalid length for parameter TransactItems, value: 0")
        if len(asked) > TRANSACTION_WRITES:
            raise RefusedError(
                "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: "
                "Member must have length less than or equal to 100"
            )
        writes = [self._write(each) for each in asked]
        keys = _each(writes, _Write.place)
        if len(set(keys)) < len(keys):
            raise RefusedError("Transaction request cannot include multiple operations on one item")
        results = _each(writes, _Write.result)
        if sum(each.after.size for each in results if each.after) > TRANSACTION_BYTES:
            raise NotImplementedError("a transaction of more than 4 MB")
        self._commit(results)
        return {}

    def _write(self, request: Request) -> "_Write":
        """Read a write, refusing what is refused without a look at the table."""
        ((kind, arguments),) = request.items()
        known = {"Put": {"Item"}, "Update": {"Key", "UpdateExpression"}, "Delete": {"Key"}}
        if kind not in known:
            raise NotImplementedError(kind)
        _known(arguments, {"TableName", *known[kind], *_CONDITION})
        table = self._table(arguments)
        condition = change = None
        used: list[tuple[str, expressions.Expression]] = []
        if "UpdateExpression" in arguments:
            change = expressions.change(arguments["UpdateExpression"])
            used.append(("Update", change))
        if "ConditionExpression" in arguments:
            condition = expressions.condition(arguments["ConditionExpression"])
            used.append(("Condition", condition))
        names, values = _placeholders(arguments, *used)
        if change:
            change.check(names, values, table.keys)
        if condition:
            condition.check(values)
        item = stored_item(arguments["Item" if kind == "Put" else "Key"])
        table.refuse_empty(item)
        self._permit(table, item.get(table.keys[0], {}).get("S", ""))
        return _Write(table, kind, item, condition, change, names, values)

    def _commit(self, results: Sequence["_Result"]) -> None:
        self.before_writes([each.key[0] for each in results])
        changed = [each for each in results if each.before is not each.after]
        for each in changed:
            each.table.keep(each.key, each.after)
        if self.on_change:
            for each in changed:
                before, after = (row.item if row else None for row in (each.before, each.after))
                # A write that changes nothing leaves no record in the stream ("Change data capture").
                if before != after:
                    self.on_change(each.table.name, each.key, before, after)


# ---- writes ----


@dataclass(frozen=True, slots=True)
class _Result:
    """What one write makes of an item."""

    table: Table
    key: Key
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class _Write:
    """One write, read. `item` is what is put, or the key."""

    table: Table
    kind: str
    item: Item
    condition: Condition | None
    change: Change | None
    names: Names
    values: Values

    def place(self) -> tuple[str, Key]:
        if self.kind != "Put" and self.item.keys() != set(self.table.keys):
            raise RefusedError("The provided key element does not match the schema")
        return self.table.name, self.table.key_in(self.item)

    def result(self) -> _Result:
        _, key = self.place()
        before = self.table.present.find(key)
        if self.condition and not self.condition.holds(before.item if before else {}, self.names, self.values):
            raise RefusedError("The conditional request failed", "ConditionalCheckFailedException")
        if self.kind == "Delete":
            return _Result(self.table, key, before, None)
        item = self.item
        if self.kind == "Update":
            # An item that there is none of is made with its keys, even if the update makes no attribute.
            item = before.item if before else item
            item = self.change.applied(item, self.names, self.values) if self.change else item
        if (size := item_size(item)) > ITEM_BYTES:
            words = "Item size to update" if self.kind == "Update" else "Item size"
            raise RefusedError(f"{words} has exceeded the maximum allowed size")
        return _Result(self.table, key, before, Row(item, size))


def _each[Found](writes: Iterable[_Write], find: Callable[[_Write], Found]) -> list[Found]:
    """What is found for each write of a transaction; what refuses one cancels them all and is its reason."""
    found: list[Found] = []
    reasons: list[dict[str, str]] = []
    for write in writes:
        try:
            found.append(find(write))
        except RefusedError as refused:
            failed = refused.code == "ConditionalCheckFailedException"
            code = "ConditionalCheckFailed" if failed else "ValidationError"
            reasons.append({"Code": code, "Message": str(refused)})
        else:
            reasons.append({"Code": "None"})
    if len(found) == len(reasons):
        return found
    codes = ", ".join(each["Code"] for each in reasons)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    raise RefusedError(message, "TransactionCanceledException", CancellationReasons=reasons, Message=message)


# ---- requests ----


def _known(request: Request, known: set[str]) -> None:
    if not request.keys() <= known:
        raise NotImplementedError(f"{sorted(request.keys() - known)}")


def _seen(table: Table, request: Request) -> Items:
    """The items as a read sees them, by the consistency that it asks for."""
    return table.seen(consistent=request.get("ConsistentRead", False))


def _placeholders(request: Request, *used: tuple[str, expressions.Expression]) -> tuple[Names, Values]:
    values = request.get("ExpressionAttributeValues")
    return expressions.check_placeholders(
        request.get("ExpressionAttributeNames"), None if values is None else stored_item(values), *used
    )


def _shown(request: Request) -> Callable[[Item], Item]:
    if "ProjectionExpression" not in request:
        return dict
    wanted = expressions.projection(request["ProjectionExpression"])
    return lambda item: {name: item[name] for name in wanted if name in item}
