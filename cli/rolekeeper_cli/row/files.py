"""Mappings as a YAML file: a row read with its lines, judged by the reader of the table's rows, and written."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rolekeeper.mappings.rows import (
    COLUMNS,
    EDITED_BY,
    KEYS,
    OURS,
    Attributes,
    CellError,
    Column,
    HomeAccount,
    quote,
    read_row,
)
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Problem
from rolekeeper.model.text import escaped, key_text
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.shell.suggest import did_you_mean, near

STDIN = "-"
FILE_COLUMNS = {column.name: column for column in (*KEYS, *COLUMNS)}


class FileError(CommandError):
    """A file can't be read as a whole."""


@dataclass(slots=True)
class Entry:
    """One row of a file, with the line of each column, and of each problem and warning."""

    line: int
    attributes: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    warnings: list[tuple[int, Problem]] = field(default_factory=list)

    def placed(self, problems: Iterable[Problem]) -> Iterator[tuple[int, Problem]]:
        """Problems, each with its column's line."""
        return ((self.lines.get(each.column, self.line), each) for each in problems)


def content(name: str, remedy: str) -> bytes:
    """The bytes of a file that a person names; `-` is stdin."""
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", remedy) from error


TOP = "mappings"
# In C where libyaml is there; the same otherwise.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
STANDARD = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL, _BINARY = f"{STANDARD}null", f"{STANDARD}binary"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?")
_KINDS: dict[type[yaml.Node], str] = {yaml.SequenceNode: "a list", yaml.MappingNode: "a map"}


def write(rows: Iterable[dict[str, Any]]) -> str:
    """A file of these rows, plain values by column name, in their order."""
    blocks = [dumped([row]) for row in rows]
    return f"{TOP}:\n" + "\n".join(blocks) if blocks else f"{TOP}: []\n"


class _Quoting(_Dumper):  # type: ignore[misc]  # chosen at import
    """Writes text so that every YAML reader takes it as text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's own
        """Write equal values out each time: nobody who reads a diff follows anchors."""
        return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None
    if escaped(text, keep="\n") != text:
        # Only in these quotes does YAML know escapes, and `dumped` writes them.
        style = '"'
    elif not (text[:1].isalpha() and text[:1].isascii()):
        # Digits, dates and signs are quoted even where YAML 1.1 wouldn't: 1.2 reads them otherwise.
        style = "'"
    node: yaml.ScalarNode = dumper.represent_scalar(f"{STANDARD}str", text, style=style)
    return node


_Quoting.add_representer(str, _represent_text)


def dumped(value: Any) -> str:
    """A value as YAML that reads back as the same, with invisible characters escaped."""
    text: str = yaml.dump(
        value, Dumper=_Quoting, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000_000
    )
    return escaped(text, keep="\n")


# ---- reading ----

_WRITE = f"list the mappings under {TOP}; rolekeeper mapping export shows how"


def composed(text: str, name: str, remedy: str = _WRITE) -> yaml.Node:
    """The tree of a YAML file, with the place and the text of every node; `remedy` says what it should hold."""
    try:
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        why = " ".join(part for part in (error.problem, error.context) if part)
        lines = text.splitlines()
        if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
            raise FileError(f"{place}: a tab", "indent with blanks: YAML takes no tabs there") from error
        raise FileError(f"{place}: isn't YAML: {why}", "fix it at that place") from error
    except (yaml.YAMLError, ValueError) as error:
        # A character that no YAML file may hold, such as NUL; the message has its number.
        raise FileError(f"{name}: isn't YAML: {' '.join(str(error).split())}", "remove that character") from error
    except RecursionError as error:
        raise FileError(f"{name}: is nested too deep", remedy) from error
    if node is None:
        raise FileError(f"{name}: holds only comments", remedy)
    return node


def _rows(top: yaml.Node, name: str) -> list[yaml.Node]:
    form = f"begin with '{TOP}:' and list the mappings under it"
    if not isinstance(top, yaml.MappingNode):
        raise FileError(f"{name}:{_line(top)}: isn't a map with '{TOP}'", form)
    found: list[yaml.Node] | None = None
    for key, value in top.value:
        if key.value != TOP:
            meant = f"; did you mean {TOP}?" if near(str(key.value), [TOP]) else ""
            raise FileError(f"{name}:{_line(key)}: {quote(str(key.value))} is unknown here{meant}", form)
        if found is not None:
            raise FileError(f"{name}:{_line(key)}: '{TOP}' is there twice", "put all mappings under one")
        if not isinstance(value, yaml.SequenceNode):
            raise FileError(f"{name}:{_line(value)}: '{TOP}' is no list", "write each mapping as '- tag_key: …'")
        found = value.value
    if found is None:
        raise FileError(f"{name}: holds nothing", form)
    return found


def _entry(node: yaml.Node) -> Entry:
    """A row's columns. One that is there twice is a problem: YAML would silently take the last."""
    entry = Entry(_line(node))
    if not isinstance(node, yaml.MappingNode):
        entry.problems.append((entry.line, Problem("is no mapping", "write its columns, as tag_key: workload")))
        return entry
    merged, own = _merged(node, entry), _pairs(node, entry)
    for key, value in (*merged.items(), *own.items()):
        column = FILE_COLUMNS.get(key)
        entry.lines[key] = _line(value)
        try:
            # The name of an unknown column says what is wrong.
            entry.attributes[key] = _attribute(value, column) if column else {"NULL": True}
        except CellError as error:
            entry.attributes.pop(key, None)
            entry.problems.append((_line(value), Problem(str(error), column=key)))
    return entry


def _merged(node: yaml.MappingNode, entry: Entry) -> dict[str, yaml.Node]:
    """What `<<: *defaults` adds; a row's own columns take precedence."""
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.tag == f"{STANDARD}merge":
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(each, yaml.MappingNode) or any(name.tag == key.tag for name, _ in each.value):
                    what = "'<<' takes only maps, without another '<<' in them"
                    entry.problems.append((_line(each), Problem(what)))
                    continue
                found = _pairs(each, entry) | found
    return found


def _pairs(node: yaml.MappingNode, entry: Entry) -> dict[str, yaml.Node]:
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.tag == f"{STANDARD}merge":
            continue
        if not isinstance(key, yaml.ScalarNode):
            entry.problems.append((_line(key), Problem(f"a column's name is {_kind(key)}")))
        elif key.value in found:
            entry.problems.append((_line(key), Problem("is there twice", "keep one", column=key.value)))
        else:
            found[key.value] = value
    return found


def _attribute(node: yaml.Node, column: Column) -> Attributes:
    """A cell in DynamoDB's form, or CellError if it has no meaning in its column."""
    if isinstance(node, yaml.ScalarNode) and node.tag == _NULL:
        raise CellError("is empty; leave the column out, or give it a value")
    match column.kind.type:
        case "SS":
            if not isinstance(node, yaml.SequenceNode):
                raise CellError(f"is {_kind(node)}; write a list, as [{_shown(node)}]")
            return {"SS": [_text(each, "an entry") for each in node.value]}
        case "M":
            return {"M": dict(_tags(node))}
        case "BOOL":
            if _text(node).casefold() not in {"true", "false"} or _quoted(node):
                raise CellError(f"is {_shown(node)}; write true or false, without quotes")
            return {"BOOL": _text(node).casefold() == "true"}
        case "N" if _NUMBER.fullmatch(_text(node)) and not _quoted(node):
            return {"N": _text(node)}
    return {"S": _text(node)}


def _tags(node: yaml.Node) -> Iterator[tuple[str, Attributes]]:
    if not isinstance(node, yaml.MappingNode):
        raise CellError(f"is {_kind(node)}; write a map, as {{environment: production}}")
    seen = set()
    for key, value in node.value:
        name = _text(key, "a key")
        if name in seen:
            raise CellError(f"names {quote(name)} twice; keep one")
        seen.add(name)
        yield name, {"S": _text(value, f"the value of {quote(name)}")}


def _text(node: yaml.Node, what: str = "") -> str:
    subject = f"{what} " if what else ""
    if not isinstance(node, yaml.ScalarNode):
        raise CellError(f"{subject}is {_kind(node)}; write one text")
    if node.tag == _NULL and not _quoted(node):
        raise CellError(f"{subject}is empty; write '' if you mean an empty text")
    if not node.tag.startswith(STANDARD) or node.tag == _BINARY:
        raise CellError(f"{subject}has the YAML tag {quote(node.tag.replace(STANDARD, '!!'))}; write it without")
    return str(node.value)


def _quoted(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in {"'", '"', "|", ">"}


def _kind(node: yaml.Node) -> str:
    return _KINDS.get(type(node), "one text")


def _shown(node: yaml.Node) -> str:
    return quote(str(node.value)) if isinstance(node, yaml.ScalarNode) else _kind(node)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


# Who edited a row, and what Rolekeeper says of it, aren't part of a mapping.
_NOT_IN_FILES = frozenset({*OURS, EDITED_BY.name})


@dataclass(slots=True)
class Reading:
    """A file's mappings and their `lines`, or all that is wrong with it. Problems begin `mappings.yaml:12: `."""

    specs: list[MappingSpec] = field(default_factory=list)
    lines: dict[MappingKey, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def refuse_csv(name: str) -> None:
    """Refuse a file whose name says that it isn't YAML."""
    if Path(name).suffix.casefold() == ".csv":
        what = f"{name} is named as a CSV file, and mappings are written as YAML"
        raise UsageError(what, "use a YAML file; to see its form: rolekeeper mapping export -o mappings.yaml")


def read_file(data: bytes, name: str, home: HomeAccount | None) -> Reading:
    """Read a file's mappings with the reader of the table's rows; `home` is None without AWS."""
    reading = Reading()
    for node in _rows(composed(decoded(data, name), name), name):
        entry = _entry(node)
        if spec := _judge(entry, home):
            if spec.key in reading.lines:
                same = Problem(f"is the same row as line {reading.lines[spec.key]}", "keep one")
                entry.problems.append((entry.line, same))
            reading.lines.setdefault(spec.key, entry.line)
            reading.specs.append(spec)
        key, value = (entry.attributes.get(name, {}).get("S", "") for name in ("tag_key", "tag_value"))
        title = f"{quote(key_text(key, value))[1:-1]}: " if key and value else ""
        reading.problems += [f"{name}:{line}: {title}{each}" for line, each in entry.problems]
        reading.warnings += [f"{name}:{line}: {title}{each}" for line, each in entry.warnings]
    return reading


def _judge(entry: Entry, home: HomeAccount | None) -> MappingSpec | None:
    """An entry's mapping; with a problem, it has none."""
    if not entry.attributes:
        if not entry.problems:
            entry.problems.append((entry.line, Problem("is empty", "write its columns, or take it out")))
        return None
    row = {name: value for name, value in entry.attributes.items() if name in FILE_COLUMNS}
    verdict = read_row(row, home or _home_of(row))
    # A column without a meaning isn't missing.
    unclear = {each.column for _, each in entry.problems if each.column}
    entry.problems += entry.placed(each for each in verdict.problems if each.column not in unclear)
    for each in (name for name in entry.attributes if name not in row):
        unknown = Problem(f"unknown column {quote(each)}", did_you_mean(each, FILE_COLUMNS))
        ours = Problem("isn't written in a file", "leave it out", column=each)
        entry.problems.append((entry.lines[each], ours if each in _NOT_IN_FILES else unknown))
    entry.warnings += entry.placed(verdict.warnings)
    return None if entry.problems else verdict.spec


def _home_of(attributes: Mapping[str, Any]) -> HomeAccount:
    """Without AWS our account isn't known: an ARN is taken for one of our own, and refused as an ARN."""
    for name in ("role", "instance_profile"):
        parts = str(attributes.get(name, {}).get("S", "")).split(":")
        if len(parts) > 4 and parts[0].casefold() == "arn":  # noqa: PLR2004  # arn:partition:service:region:account
            return HomeAccount(parts[4], parts[1])
    return HomeAccount("")


def decoded(data: bytes, name: str, remedy: str = _WRITE) -> str:
    """UTF-8, with or without a byte order mark; UTF-16 with one, as Windows PowerShell writes it."""
    coding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        what = f"{name}: byte {error.start + 1} is no {coding.removesuffix('-sig').upper()}"
        raise FileError(what, "save the file as UTF-8") from error
    if not text.strip():
        raise FileError(f"{name}: is empty", remedy)
    return text
