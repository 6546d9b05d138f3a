r"""EC2's request filters and pages, as the describe calls of the truth use them.

A filter is a name and the values that it accepts: values are OR-ed, filters are AND-ed, a value may hold ``*`` and
``?``, and a backslash makes these literal
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html).
"""

import base64
import binascii
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from rolekeeper_local.ec2_model import Association, Ec2Error, Instance

Filters = Sequence[tuple[str, Sequence[str]]]

#: AWS_FACTS.md, Attach, replace, detach: "at most 200 values per filter"; Limits and names: of 255 characters each.
MAX_VALUES, MAX_LENGTH = 200, 255


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | str:
    """A pattern, or the text that it stands for if it has no wildcard."""
    parts, text, wild = [], [], False
    characters = iter(pattern)
    for character in characters:
        if character in "*?":
            parts.append("." if character == "?" else ".*")
            wild = True
            continue
        literal = next(characters, "\\") if character == "\\" else character
        parts.append(re.escape(literal))
        text.append(literal)
    return re.compile("".join(parts), re.DOTALL) if wild else "".join(text)


def exactly(filters: Filters, name: str) -> frozenset[str] | None:
    """The only values that a filter of this name accepts; None if there is no such filter, or it has wildcards."""
    values = next((values for each, values in filters if each == name), None)
    compiled = [_compiled(value) for value in values or ()]
    texts = frozenset(one for one in compiled if isinstance(one, str))
    return texts if values is not None and len(texts) == len(set(values)) else None


def check(filters: Filters, known: Callable[[str], bool]) -> None:
    """Refuse invalid filters (AWS_FACTS.md, Errors); the messages about no and about long values are inferred."""
    for name, values in filters:
        if not known(name):
            raise Ec2Error("InvalidParameterValue", f"The filter '{name}' is invalid")
        if not values:
            raise Ec2Error("InvalidParameterValue", f"The filter '{name}' has no values")
        if any(len(value) > MAX_LENGTH for value in values):
            raise Ec2Error("InvalidParameterValue", f"A value of the filter '{name}' exceeds {MAX_LENGTH} characters")
        if len(values) > MAX_VALUES:
            text = f"The maximum number of filter values specified on a single call is {MAX_VALUES}"
            raise Ec2Error("FilterLimitExceeded", text)


def passing(filters: Filters) -> Callable[[Mapping[str, str], Mapping[str, str]], bool]:
    """A function that says whether attributes and tags pass every filter."""
    compiled = []
    for name, values in filters:
        each = [_compiled(value) for value in values]
        texts = frozenset(one for one in each if isinstance(one, str))
        compiled.append((name, texts, [one for one in each if not isinstance(one, str)]))

    def passes(attributes: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        return all(
            any(
                value in texts or any(one.fullmatch(value) for one in patterns)
                for value in _values_of(name, attributes, tags)
            )
            for name, texts, patterns in compiled
        )

    return passes


def _values_of(name: str, attributes: Mapping[str, str], tags: Mapping[str, str]) -> Iterable[str]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return [tags[key]] if key in tags else []
    if name == "tag-key":
        return tags.keys()
    if name == "tag-value":
        return tags.values()
    return [attributes[name]] if name in attributes else []


def page[Row: (Instance, Association)](
    rows: Iterable[Row], max_results: int | None, next_token: str | None
) -> tuple[list[Row], str | None]:
    """One page of rows that are ordered by number, and the token of the next one; None after the last."""
    after = number_after(next_token)
    rest = (row for row in rows if row.number > after)
    if max_results is None:
        return list(rest), None
    cut = list(itertools.islice(rest, max_results + 1))
    if len(cut) <= max_results:
        return cut, None
    cut.pop()
    return cut, base64.urlsafe_b64encode(f"after {cut[-1].number}".encode()).decode()


def number_after(token: str | None) -> int:
    """The number after which a page begins; an unknown token is refused."""
    if not token:
        return -1
    try:
        return int(base64.urlsafe_b64decode(token.encode()).decode().removeprefix("after "))
    except (binascii.Error, ValueError) as error:
        raise Ec2Error(
            "InvalidParameterValue", f"Value ({token}) for parameter NextToken is invalid. The token is invalid."
        ) from error
