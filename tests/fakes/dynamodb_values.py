"""DynamoDB's attribute values: which it refuses, how it stores numbers and sets, what they weigh, how they compare.

Source: DynamoDB developer guide, "Supported data types and naming rules", "Constraints" and "Item sizes and formats".
"""

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

type Value = Mapping[str, Any]
"""An attribute value in low-level form, {"S": "web"}. Never changed once it is stored."""
type Item = dict[str, Any]

ITEM_BYTES = 400 * 1024
DIGITS = 38
# A number is 0, or its magnitude is from 1E-130 to 9.99…E+125.
SMALLEST, LARGEST = -130, 125
_ROOMY = Context(prec=400)
_SETS = {"SS": "string", "NS": "number", "BS": "binary"}
# What botocore sends as each type.
_CONTENT: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys("SN", str),
    "B": (bytes, str),
    **dict.fromkeys(("BOOL", "NULL"), bool),
    "M": dict,
    **dict.fromkeys(("L", *_SETS), (list, tuple)),
}


class RefusedError(Exception):
    """DynamoDB refuses a request. `more` is what its answer holds beside the error."""

    def __init__(self, message: str, code: str = "ValidationException", **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.more = more

    def for_client(self, operation: str) -> ClientError:
        answer: Any = {
            "Error": {"Code": self.code, "Message": str(self)},
            "ResponseMetadata": {"HTTPStatusCode": 400, "RetryAttempts": 0},
            **self.more,
        }
        return ClientError(answer, operation)


# ---- storing ----


def stored(value: Any) -> Value:
    """A value as DynamoDB keeps it: numbers and sets in one form only, so two that are equal there are equal here.

    Raises:
        RefusedError: DynamoDB takes no such value.
        ParamValidationError: botocore doesn't even send it.
    """
    if not isinstance(value, dict):
        raise ParamValidationError(report=f"{value!r} is no attribute value")
    if len(value) != 1:
        words = "is empty," if not value else "has more than one datatypes set,"
        raise RefusedError(f"Supplied AttributeValue {words} must contain exactly one of the supported datatypes")
    ((kind, content),) = value.items()
    _check_sent(kind, content)
    if kind == "N":
        plain = number(content)
        return value if plain == content else {"N": plain}
    if kind == "B" and isinstance(content, str):
        return {"B": content.encode()}
    if kind == "L":
        return {"L": [stored(each) for each in content]}
    if kind == "M":
        return {"M": {name: stored(each) for name, each in content.items()}}
    return _stored_set(kind, content) if kind in _SETS else value


def _check_sent(kind: str, content: Any) -> None:
    if not isinstance(content, _CONTENT.get(kind, ())):
        raise ParamValidationError(report=f"{content!r} is no content of {kind}")


def stored_item(attributes: Mapping[str, Any]) -> Item:
    return {name: stored(value) for name, value in attributes.items()}


def _stored_set(kind: str, content: Iterable[Any]) -> Value:
    member = kind[0]
    members = [stored({member: each})[member] for each in content]
    if not members:
        raise RefusedError(f"One or more parameter values were invalid: An {_SETS[kind]} set  may not be empty")
    return set_of(kind, members)


def set_of(kind: str, members: Iterable[Any]) -> Value:
    """A set in its one form, which is sorted."""
    members = list(members)
    if len(set(members)) < len(members):
        raise RefusedError("One or more parameter values were invalid: Input collection contains duplicates.")
    return {kind: sorted(members, key=Decimal if kind == "NS" else None)}


@lru_cache(maxsize=10_000)
def number(text: str) -> str:
    """A number as DynamoDB answers it: no exponent, no zeros in front or at the end.

    Raises:
        RefusedError: it is no number, or has too many digits, or is too large or too small.
    """
    try:
        value = _ROOMY.create_decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not text or not text.strip() == text or "_" in text or not value.is_finite():
        raise RefusedError(f"The parameter cannot be converted to a numeric value: {text}")
    if not value:
        return "0"
    value = _ROOMY.normalize(value)
    if value.adjusted() > LARGEST:
        raise RefusedError("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if value.adjusted() < SMALLEST:
        raise RefusedError("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    if len(value.as_tuple().digits) > DIGITS:
        raise RefusedError(f"Attempting to store more than {DIGITS} significant digits in a Number")
    return f"{value:f}"


# ---- adding ----


def added(old: Value | None, more: Value) -> Value:
    """What `ADD` makes of a value: a number's sum, a set's union."""
    ((kind, content),) = more.items()
    if old is None:
        return more
    if kind not in old:
        raise RefusedError("An operand in the update expression has an incorrect data type")
    if kind == "N":
        return {"N": number(str(_ROOMY.add(Decimal(old["N"]), Decimal(content))))}
    return set_of(kind, {*old[kind], *content})


def without(old: Value | None, fewer: Value) -> Value | None:
    """What `DELETE` leaves of a set; None when that is nothing."""
    ((kind, content),) = fewer.items()
    if old is None:
        return None
    if kind not in old:
        raise RefusedError("An operand in the update expression has an incorrect data type")
    left = [each for each in old[kind] if each not in content]
    return {kind: left} if left else None


# ---- weighing ----


def item_size(item: Mapping[str, Value]) -> int:
    return sum(text_size(name) + _size(value) for name, value in item.items())


def text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _size(value: Value) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return text_size(content)
    if kind == "N":
        # "approximately … 1 byte per two significant digits + 1 byte".
        return len(content) // 2 + 2
    if kind in {"BOOL", "NULL"}:
        return 1
    if kind == "B":
        return len(content)
    if kind == "M":
        return 3 + sum(1 + text_size(name) + _size(each) for name, each in content.items())
    if kind == "L":
        return 3 + sum(1 + _size(each) for each in content)
    return sum(_size({kind[0]: each}) for each in content)


# ---- comparing ----


def is_below(one: Value, other: Value) -> bool:
    """Whether a value comes before another; never when their types differ, or have no order."""
    ((kind, content),) = one.items()
    if kind not in other:
        return False
    if kind == "N":
        return Decimal(content) < Decimal(other["N"])
    # Python compares texts by code points, which is the order of their UTF-8 bytes, DynamoDB's.
    return kind in {"S", "B"} and bool(content < other[kind])
