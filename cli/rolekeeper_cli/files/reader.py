"""Reading a file's mappings, with the same reader that judges the table's rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rolekeeper.mappings.rows.cells import HomeAccount, quote
from rolekeeper.mappings.rows.columns import ASKS, OURS
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Problem
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.files.entry import Entry, FileError
from rolekeeper_cli.files.yaml_form import read

# What people ask of Rolekeeper isn't part of a mapping, and what it answers even less.
_NOT_IN_FILES = frozenset({*OURS, *(column.name for column in ASKS)})


@dataclass(frozen=True, slots=True)
class Reading:
    """A file's mappings, or all that is wrong with it. Both lists tell where: `mappings.yaml:12: …`."""

    specs: Sequence[MappingSpec]
    problems: Sequence[str]
    warnings: Sequence[str]


def refuse_csv(name: str) -> None:
    """Refuse a file whose name says that it isn't YAML.

    Raises:
        UsageError: it ends in .csv.
    """
    if PurePath(name).suffix.casefold() == ".csv":
        raise UsageError(
            f"{name} is named as a CSV file, and mappings are written as YAML",
            "use a YAML file; to see its form: rolekeeper mapping export -o mappings.yaml",
        )


def read_file(data: bytes, name: str, home: HomeAccount | None) -> Reading:
    """Read a file's mappings with the same reader that judges the table's rows.

    Args:
        data: the file.
        name: for messages.
        home: our own account and partition; None where AWS isn't asked.

    Raises:
        FileError: it can't be read as a whole.
    """
    return _judged(read(_decoded(data, name), name), name, home)


def _judged(entries: Iterable[Entry], name: str, home: HomeAccount | None) -> Reading:
    specs: list[MappingSpec] = []
    problems: list[str] = []
    warnings: list[str] = []
    first: dict[MappingKey, int] = {}
    for entry in entries:
        spec, wrong, odd = _judge(entry, home)
        title = _title(entry.attributes)
        problems += [f"{name}:{line}: {title}{each}" for line, each in wrong]
        warnings += [f"{name}:{line}: {title}{each}" for line, each in odd]
        if spec is None:
            continue
        if spec.key in first:
            problems.append(f"{name}:{entry.line}: {title}is the same row as line {first[spec.key]}; keep one")
        first.setdefault(spec.key, entry.line)
        specs.append(spec)
    return Reading(specs, problems, warnings)


def _judge(
    entry: Entry, home: HomeAccount | None
) -> tuple[MappingSpec | None, list[tuple[int, Problem]], list[tuple[int, Problem]]]:
    """An entry's mapping, its problems and its warnings; with a problem, it has no mapping."""
    if not entry.attributes:
        return None, entry.problems or entry.placed([Problem("is empty", "write its columns, or take it out")]), []
    row = {name: value for name, value in entry.attributes.items() if name not in _NOT_IN_FILES}
    verdict = read_row(row, home or _home_of(row))
    # What the form couldn't make out isn't missing.
    unclear = {each.column for _, each in entry.problems if each.column}
    problems = entry.problems + entry.placed(each for each in verdict.problems if each.column not in unclear)
    others = sorted(entry.attributes.keys() - row.keys())
    problems += entry.placed(Problem("isn't written in a file", "leave it out", column=each) for each in others)
    return (None if problems else verdict.spec), problems, entry.placed(verdict.warnings)


def _title(attributes: Mapping[str, Any]) -> str:
    key, value = (attributes.get(name, {}).get("S", "") for name in ("tag_key", "tag_value"))
    return f"{quote(f'{key}={value}')[1:-1]}: " if key and value else ""


def _home_of(attributes: Mapping[str, Any]) -> HomeAccount:
    """Without AWS nobody knows our account: an ARN is taken for one of our own, and refused as that."""
    for name in ("role", "instance_profile"):
        parts = str(attributes.get(name, {}).get("S", "")).split(":")
        if len(parts) > 4 and parts[0].casefold() == "arn":  # noqa: PLR2004  # arn:partition:service:region:account
            return HomeAccount(parts[4], parts[1])
    return HomeAccount("")


def _decoded(data: bytes, name: str) -> str:
    """UTF-8, with or without a byte order mark; UTF-16 with one, as Windows PowerShell writes it."""
    coding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        what = f"{name}: byte {error.start + 1} is no {coding.removesuffix('-sig').upper()}"
        raise FileError(what, "save the file as UTF-8") from error
    if not text.strip():
        raise FileError(f"{name}: is empty", "write the mappings into it; rolekeeper mapping export shows how")
    return text
