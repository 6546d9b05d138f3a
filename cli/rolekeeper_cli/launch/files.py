"""What files of infrastructure will launch: CloudFormation templates, Terraform plans and states. AWS isn't asked."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

import yaml

from rolekeeper.mappings.rows import Attributes, quote
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.settings import Ownership
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.instance.view import StepView
from rolekeeper_cli.launch import cloudformation, terraform
from rolekeeper_cli.launch.declared import PROFILE, Declared, Source, as_map, with_users
from rolekeeper_cli.launch.launchers import rules_of
from rolekeeper_cli.launch.use import NEEDS, Forecast, Rules, forecast
from rolekeeper_cli.launch.view import Verdict
from rolekeeper_cli.row.files import FileError, composed, decoded
from rolekeeper_cli.shell.suggest import did_you_mean

_KINDS = "give a CloudFormation template, or what terraform show -json PLAN prints"
_NEITHER = "is neither a CloudFormation template nor version 1 of Terraform's JSON"
_SHOW = "give its JSON: terraform show -json PLAN > plan.json"


def read(files: Mapping[str, bytes], parameters: Mapping[str, str], target: Target | None) -> list[Declared]:
    """What files launch, by their names. FileError if one can't be read, UsageError if none has a parameter.

    `target` is where it will be deployed; None if that isn't known.
    """
    found: list[Declared] = []
    known: set[str] = set()
    for name, data in files.items():
        try:
            document, lines = _document(data, name)
            resources, version, asked = (document.get(each) for each in ("Resources", "format_version", "Parameters"))
            if isinstance(resources, dict):
                known |= asked.keys() if isinstance(asked, dict) else set()
                made = cloudformation.launchers(document, name, lines=lines, parameters=parameters, target=target)
            elif isinstance(version, str) and version.startswith(("0.", "1.")):
                made = terraform.launchers(document, name)
            else:
                raise FileError(f"{name}: {_NEITHER}", _KINDS)
            found += with_users(made)
        except RecursionError as error:
            raise FileError(f"{name}: is nested too deep, or a condition refers to itself", _KINDS) from error
    if wrong := next((each for each in parameters if each not in known), ""):
        remedy = did_you_mean(wrong, known) or "name one of the template's Parameters"
        raise UsageError(f"no template has a parameter {quote(wrong)}", remedy)
    return found


def _document(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, int]]:
    """A file's top, and the line of each resource of a YAML file. Numbers are texts, as tags are."""
    if data.startswith(b"PK\3\4"):
        raise FileError(f"{name}: is a binary plan file", _SHOW)
    text = decoded(data, name, _KINDS)
    if not text.lstrip().startswith("{"):
        top = composed(text, name, _KINDS)
        return _top(_plain(top, count(), name), name), _lines(top)
    try:
        return _top(json.loads(text, parse_int=str, parse_float=_number), name), {}
    except json.JSONDecodeError as error:
        what = f"{name}:{error.lineno}:{error.colno}: isn't JSON: {error.msg}"
        raise FileError(what, "fix it at that place") from error


def _top(document: Any, name: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise FileError(f"{name}: {_NEITHER}", _KINDS)
    return document


_STANDARD = "tag:yaml.org,2002:"
_MERGE = f"{_STANDARD}merge"
# Of the nodes of a file, with what its aliases repeat. A template has 1 MB at most.
_MOST = 500_000
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]*[1-9])?")
_TRUE = frozenset({"true", "yes", "on"})


def _plain(node: yaml.Node, numbers: Iterator[int], name: str) -> Any:
    """A node as JSON has it, a number as its text: `!Sub x` is `{"Fn::Sub": "x"}`."""
    if next(numbers) > _MOST:
        raise FileError(f"{name}: is too large once its YAML aliases are expanded", _KINDS)
    match node:
        case yaml.MappingNode():
            found: Any = _plain_map(node, numbers, name)
        case yaml.SequenceNode():
            found = [_plain(each, numbers, name) for each in node.value]
        case _:
            found = str(node.value)
    kind = node.tag.removeprefix(_STANDARD)
    if node.tag.startswith("!"):
        function = node.tag[1:]
        if function == "GetAtt" and isinstance(found, str):
            found = found.split(".", 1)
        return {function if function in {"Ref", "Condition"} else f"Fn::{function}": found}
    if kind in {"int", "float"}:
        return _number(found)
    if kind == "null":
        return None
    return found.casefold() in _TRUE if kind == "bool" else found


def _plain_map(node: yaml.MappingNode, numbers: Iterator[int], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # What `<<` adds comes first: a map's own keys take precedence.
    for key, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
        plain = _plain(value, numbers, name)
        if key.tag == _MERGE:
            for each in reversed(plain if isinstance(plain, list) else [plain]):
                found |= as_map(each)
        else:
            found[str(key.value)] = plain
    return found


def _number(text: str) -> Any:
    """A number's text; what a service makes of `1.10` or `010` isn't known."""
    return text if _NUMBER.fullmatch(text) else {"Fn::Number": text}


def _lines(top: yaml.Node) -> dict[str, int]:
    sections = {key.value: value for key, value in top.value} if isinstance(top, yaml.MappingNode) else {}
    resources = sections.get("Resources")
    pairs = resources.value if isinstance(resources, yaml.MappingNode) else ()
    return {key.value: key.start_mark.line + 1 for key, _ in pairs}


def forecasts(found: Sequence[Declared], rules: Rules, scoped: Collection[MappingKey] = ()) -> Iterator[Forecast]:
    """What happens to what files launch. Whether accounts, Regions and units of `scoped` are met isn't known."""
    at_home = "".join(rules.ownership.prefix.partition(":instance-profile")[:2])

    def profile_arn(written: str) -> str | None:
        # One that the file declares need not be there yet.
        declared_here = written.startswith(PROFILE)
        return f"{at_home}{written.removeprefix(PROFILE)}" if declared_here else rules.profile_arn(written)

    def published(besides: MappingKey | None = None) -> Rules:
        kept = {key: each for key, each in rules.published.items() if key == besides or key not in scoped}
        return replace(rules, published=kept, profile_arn=profile_arn)

    surely = published()
    for each in found:
        made = forecast(each.launcher, surely)
        for key in (key for key in scoped if key.matches(each.launcher.tags)):
            other = forecast(each.launcher, published(key))
            if (made.verdict, made.should_carry) != (other.verdict, other.should_carry):
                why = f"{key} is for some accounts, Regions or units only, and it isn't known where this is deployed"
                made = replace(made, verdict=Verdict.UNKNOWN, code="not-known", reason=why, mapping=key)
        yield replace(made, steps=tuple(_steps(made, each.source)))


def _steps(found: Forecast, source: Source) -> Iterator[StepView]:
    if found.starts_wrong and found.should_carry:
        path, _, name = found.should_carry.partition(":instance-profile")[2].rpartition("/")
        text = source.attribute.format(name=name, path=f"{path}/")
        yield StepView(command=text, does=f"in {source.name}: instances start with {name}; {NEEDS}")


def in_effect(place: Deployment, found: Sequence[Declared], rows: Mapping[MappingKey, Attributes]) -> Rules:
    """Rules as in a target now; `rows` are those of the mapping table."""
    required = (name for row in rows.values() for name in row.get("require_tags", {}).get("M", ()))
    mapped = {IGNORE_TAG, *(key.tag_key for key in rows), *required}
    return replace(rules_of(place, [each.launcher for each in found]), mapped=frozenset(mapped))


def offline(
    specs: Sequence[MappingSpec], role_path: str, *, target: Target | None, now: datetime
) -> tuple[Rules, frozenset[MappingKey]]:
    """Rules as if these mappings were all that is published, and those of them whose scope can't be judged.

    An instance profile that no mapping gives is taken as one outside the role path, unless the file says its path.
    """
    place = target or Target("", "")
    base = f"arn:aws:iam::{place.account}:instance-profile"
    prefix, managed = f"{base}{role_path}", {each.profile_name for each in specs if each.role != NO_ROLE}
    published, scoped = {}, set()
    for each in specs:
        spec = replace(each, units=frozenset(), not_units=frozenset())
        if not target:
            spec = replace(spec, accounts=frozenset(), not_accounts=frozenset(), regions=frozenset())
        if spec != each:
            scoped.add(each.key)
        arn = "" if each.role == NO_ROLE else f"{prefix}{each.profile_name}"
        published[each.key] = PublishedMapping(spec, 1, arn)

    def profile_arn(written: str) -> str:
        name = written.partition(":instance-profile/")[2]
        return f"{base}/{name}" if name else f"{prefix}{written}" if written in managed else f"{base}/{written}"

    mapped = frozenset(name for each in specs for name in (each.key.tag_key, *each.require_tags)) | {IGNORE_TAG}
    rules = Rules(place, Ownership(prefix), now=now, published=published, profile_arn=profile_arn, mapped=mapped)
    return rules, frozenset(scoped)
