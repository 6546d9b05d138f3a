"""What a Terraform plan or state launches, from `terraform show -json` (JSON Output Format, version 1).

A plan has the values that are known before it is applied. `after_unknown` says which aren't, and the configuration to
which resource they refer.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rolekeeper_cli.launch import declared as declare
from rolekeeper_cli.launch.declared import Read, Source, Tags, as_list, as_map
from rolekeeper_cli.launch.view import Kind

_TEMPLATE, _GROUP = "aws_launch_template", "aws_autoscaling_group"
_CONFIGURATION, _PROFILE = "aws_launch_configuration", "aws_iam_instance_profile"
# What puts tags on a group or an instance beside it: which attribute names it, by which of its own, by its type.
_TAGS_BESIDE = {
    "aws_autoscaling_group_tag": ("autoscaling_group_name", {_GROUP: "name"}),
    "aws_ec2_tag": ("resource_id", {"aws_instance": "id", "aws_spot_instance_request": "spot_instance_id"}),
}
# Terraform's words for true where an argument takes a text (strconv.ParseBool).
_TRUE = frozenset({"true", "t", "1"})
# `[0]` and `["blue"]` of an address.
_INDEX = re.compile(r'\[(?:[0-9]+|"(?:[^"\\]|\\.)*")\]')
# A type or `module`, `var`; a name; an index; an attribute.
_REFERENCE = re.compile(rf"([\w-]+)\.([\w-]+)({_INDEX.pattern})?(?:\.([\w-]+))?")
# References to what a plan always knows.
_KNOWN = frozenset({"each", "count", "path", "self", "terraform"})
_BLOCK, _ARGUMENT = 'iam_instance_profile {{ name = "{name}" }}', 'iam_instance_profile = "{name}"'


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a resource, at a path, and which of it isn't known: True for all, or a map or list of its form."""

    value: Any
    unknown: Any = False
    path: tuple[str | int, ...] = ()

    def __getitem__(self, name: str) -> "Cell":
        unknown = as_map(self.unknown).get(name, self.unknown is True)
        return Cell(as_map(self.value).get(name), unknown, (*self.path, name))

    def __iter__(self) -> "Iterator[Cell]":
        unknown = [*as_list(self.unknown)]
        for number, each in enumerate(as_list(self.value)):
            yield Cell(each, unknown[number] if number < len(unknown) else False, (*self.path, number))

    @property
    def known(self) -> bool:
        return self.unknown is not True

    @property
    def block(self) -> "Cell":
        return next(iter(self), Cell(None, self.unknown is True, self.path))

    @property
    def text(self) -> str | None:
        """Its text, empty if it isn't set; None if it isn't known, or is none."""
        found = "" if self.value is None else self.value
        return found if self.known and isinstance(found, str) else None


class Resource:
    """A resource as it will be. `modules` are the names of those that it is in, `module` their address."""

    def __init__(self, given: Mapping[str, Any], module: str, cell: Cell, *, created: bool = False) -> None:
        self.address, self.type = str(given.get("address")), str(given.get("type"))
        self.block = f"{self.type}.{given.get('name')}"
        self.index, self.cell, self.created = given.get("index"), cell, created
        self.module, self.modules = module, tuple(_INDEX.sub("", module).split(".")[1::2])


def launchers(document: Mapping[str, Any], name: str) -> Iterator[declare.Declared]:
    """What a plan's or a state's resources launch; what the plan deletes is left out."""
    changes, values = document.get("resource_changes"), as_map(document.get("values"))
    found = list(_in_state(as_map(values.get("root_module"))) if changes is None else _in_plan(as_list(changes)))
    plan = _Plan(found, as_map(document.get("configuration")))
    for resource in found:
        if unclear := declare.may_launch(resource.type):
            yield declare.other(resource.address, name, unclear)
        elif resource.type in _READERS:
            kind, read = _READERS[resource.type]
            sources, tags = read(plan, resource)
            yield from declare.declared(kind, resource.address, sources, tags=tags, place=name)
    # What waits for a value that isn't known is no change yet ("deferred_changes" of the JSON output format).
    for each in (as_map(as_map(each).get("resource_change")) for each in as_list(document.get("deferred_changes"))):
        if (type_ := str(each.get("type"))) in _READERS or declare.may_launch(type_):
            why = "whether it is made isn't known before the rest is applied"
            yield declare.other(str(each.get("address")), name, why)


def _in_plan(changes: Sequence[Any]) -> Iterator[Resource]:
    for each in map(as_map, changes):
        change = as_map(each.get("change"))
        if each.get("mode") == "managed" and "deposed" not in each and isinstance(change.get("after"), Mapping):
            cell = Cell(change["after"], change.get("after_unknown"))
            created = "create" in as_list(change.get("actions"))
            yield Resource(each, str(each.get("module_address") or ""), cell, created=created)


def _in_state(module: Mapping[str, Any]) -> Iterator[Resource]:
    for each in map(as_map, as_list(module.get("resources"))):
        if each.get("mode") == "managed":
            yield Resource(each, str(module.get("address") or ""), Cell(each.get("values")))
    for child in map(as_map, as_list(module.get("child_modules"))):
        yield from _in_state(child)


type _Modules = tuple[str, ...]
type _Hit = tuple[_Modules, str]  # what is referred to, and in which module


class _Plan:
    """The resources of a plan, by how others name them."""

    def __init__(self, resources: Sequence[Resource], configuration: Mapping[str, Any]) -> None:
        self.configuration = configuration
        self._written: dict[_Modules, Mapping[str, Mapping[str, Any]]] = {}
        self._by_text: dict[tuple[str, str, str], Resource] = {}
        self._by_block = defaultdict[_Hit, list[Resource]](list)
        self._in_module = defaultdict[tuple[str, str], list[Resource]](list)
        # The tags of a group or an instance that are resources of their own; those of any of a type by that.
        self._beside = defaultdict[Resource | str, Tags](Tags)
        for each in resources:
            self._by_block[each.modules, each.block].append(each)
            self._in_module[each.module, each.type].append(each)
            for attribute in ("id", "name", "spot_instance_id"):
                if text := each.cell[attribute].text:
                    self._by_text.setdefault((each.type, attribute, text), each)
        for each in resources:
            if each.type in _TAGS_BESIDE:
                self._add_beside(each, *_TAGS_BESIDE[each.type])

    def _add_beside(self, resource: Resource, attribute: str, types: Mapping[str, str]) -> None:
        cell, block = resource.cell[attribute], resource.cell["tag"].block
        tags = _tag(resource.cell if block.value is None else block)
        found = [each for type_, by in types.items() if (each := self.named(resource, type_, cell, by=by))]
        hits = set() if cell.known else self._hits(resource, cell.path)
        for each in found:
            self._beside[each] = tags.over(self._beside[each])
        if not (found or cell.known or (hits and all(each in self._by_block for each in hits))):
            for type_ in types:  # it isn't known on which
                self._beside[type_] = tags.doubtful.over(self._beside[type_])

    def beside(self, resource: Resource) -> Tags:
        return self._beside[resource].over(self._beside[resource.type])

    # ---- the configuration: what a value that isn't known refers to ----

    def _module(self, names: Sequence[str]) -> Mapping[str, Any]:
        module = as_map(self.configuration.get("root_module"))
        for name in names:
            module = as_map(as_map(as_map(module.get("module_calls")).get(name)).get("module"))
        return module

    def written(self, modules: _Modules, block: str) -> Mapping[str, Any]:
        if modules not in self._written:
            blocks = map(as_map, as_list(self._module(modules).get("resources")))
            self._written[modules] = {f"{each.get('type')}.{each.get('name')}": each for each in blocks}
        return self._written[modules].get(block, {})

    def expression(self, resource: Resource, path: Sequence[str | int]) -> Any:
        """How a value is written; None if it isn't, or if it can't be said in which of several blocks."""
        found: Any = self.written(resource.modules, resource.block).get("expressions")
        for step in path:
            if isinstance(step, str):
                found = as_map(found).get(step)
            elif isinstance(found, list):
                # Blocks of a Spot Fleet are sets.
                ordered = len(found) == 1 or resource.type != "aws_spot_fleet_request"
                found = found[step] if ordered and step < len(found) else None
        return found

    def _hits(self, resource: Resource, path: Sequence[str | int]) -> set[_Hit]:
        """All that a value refers to and that may not be known."""
        hits = set(self._follow(resource.modules, self.expression(resource, path), set()))
        # `x.web[0].id` refers to `x.web` too.
        hits -= {(modules, _INDEX.sub("", local)) for modules, local in hits if local.endswith("]")}
        # Of a block with `count = 0` there is nothing to refer to.
        blocks = {hit: (hit[0], _INDEX.sub("", hit[1])) for hit in hits}
        return {hit for hit, block in blocks.items() if block in self._by_block or not self.written(*block)}

    def referred(self, resource: Resource, type_: str, path: Sequence[str | int]) -> Resource | None:
        """The resource of a type to which a value refers and to nothing else, also through modules."""
        hits = self._hits(resource, path)
        if len(hits) != 1:
            return None
        [(modules, local)] = hits
        found = self._by_block.get((modules, _INDEX.sub("", local)), [])
        for fits in (
            lambda each: each.address.endswith(local),
            lambda each: resource.module.startswith(each.module),
            lambda each: each.index == resource.index,
        ):
            found = [each for each in found if fits(each)] or found
        return found[0] if len(found) == 1 and found[0].type == type_ else None

    def _follow(self, modules: _Modules, expression: Any, seen: set[_Hit]) -> Iterator[_Hit]:
        for reference in (each for each in as_list(as_map(expression).get("references")) if isinstance(each, str)):
            parts = _REFERENCE.match(reference)
            if not parts or (modules, reference) in seen:
                continue
            seen.add((modules, reference))
            kind, name, index, output = parts.groups("")
            if kind == "module":
                outputs = as_map(self._module((*modules, name)).get("outputs"))
                if output in outputs:
                    yield from self._follow((*modules, name), as_map(outputs[output]).get("expression"), seen)
                elif output:
                    yield modules, f"module.{name}"
            elif kind == "var":
                calls = as_map(self._module(modules[:-1]).get("module_calls")) if modules else {}
                given = as_map(as_map(calls.get(modules[-1])).get("expressions")) if modules else {}
                yield from self._follow(modules[:-1], given.get(name), seen)
            elif kind not in _KNOWN:
                yield modules, f"{kind}.{name}{index}"

    # ---- what instances start with ----

    def named(self, resource: Resource, type_: str, cell: Cell, *, by: str = "name") -> Resource | None:
        """The resource of the file that a value names, or to which it refers if it isn't known."""
        if cell.text is None:
            return self.referred(resource, type_, cell.path) or self._only(resource, type_, cell)
        return self._by_text.get((type_, by, cell.text))

    def _only(self, resource: Resource, type_: str, cell: Cell) -> Resource | None:
        """A module's only resource of a type, for a value of that module of which the plan doesn't say what it is.

        A plan has no `dynamic` blocks, in which modules name what they make, and doesn't say what locals are.
        """
        references = as_list(as_map(self.expression(resource, cell.path)).get("references"))
        is_said = any(type_ != _TEMPLATE or not str(each).startswith("local.") for each in references)
        found = self._in_module[resource.module, type_]
        return found[0] if resource.module and len(found) == 1 and not (cell.known or is_said) else None

    def profile(self, resource: Resource, cell: Cell, *, computed: bool = False) -> str | None:
        """An instance profile, by name or ARN, as `Launcher.profile` has it.

        Without one, a plan doesn't know a `computed` one either: then it refers to nothing that isn't known.
        """
        is_written = self.written(resource.modules, resource.block)
        if computed and not cell.known and is_written and not self._hits(resource, cell.path):
            return ""
        found = self.named(resource, _PROFILE, cell)
        return _arn(found) if found else cell.text

    def source(self, resource: Resource, block: Cell, prefix: str = "") -> Source:
        cells = {name: block[f"{prefix}{name}"] for name in ("id", "name")}
        for name, cell in cells.items():
            if found := self.named(resource, _TEMPLATE, cell, by=name):
                version = block["version"]
                made_here = version.known or self.named(resource, _TEMPLATE, version) is found
                unclear = _other_version(found, version.text) if made_here else _SOME_VERSION.format(found.address)
                return replace(self.of_template(found), unclear=unclear)
        return declare.other_template(cells["id"].text or cells["name"].text or "")

    def of_template(self, template: Resource) -> Source:
        cell, block = template.cell, template.cell["iam_instance_profile"].block
        profile = _one_of([self.profile(template, block[name]) for name in ("name", "arn")])
        tags = replace(declare.OF_TEMPLATE, complete=cell["tag_specifications"].known)
        for each in cell["tag_specifications"]:
            kind = each["resource_type"].text
            tags = replace(tags, complete=tags.complete and kind is not None)
            tags = _tags(each["tags"]).over(tags) if kind == "instance" else tags
        return Source(template.address, profile, tags, attribute=_BLOCK, template=True)

    def tags(self, resource: Resource) -> Tags:
        """A resource's tags with the provider's default tags."""
        both = resource.cell["tags_all"]
        if both.known and both.value is not None:
            return _tags(both)
        own, providers = _tags(resource.cell["tags"]), as_map(self.configuration.get("provider_config"))
        mine = providers.get(str(self.written(resource.modules, resource.block).get("provider_config_key")))
        # A provider that a module inherits isn't listed: it is one of the others.
        configured = [mine] if mine else providers.values()
        blocks = [as_map(as_map(each).get("expressions")).get("default_tags") for each in configured]
        if not any(blocks):
            return own
        constant = as_map(as_map(next(iter(as_list(blocks[0])), None)).get("tags")).get("constant_value")
        return own.over(_tags(Cell(constant)) if mine and constant else Tags(complete=False))


_SOME_VERSION = "which version of {} it uses isn't known"


def _one_of(profiles: Sequence[str | None]) -> str | None:
    """The one that is set, of the two ways to name an instance profile."""
    return next((each for each in profiles if each != ""), "")


def _arn(profile: Resource) -> str | None:
    """The ARN of a profile that the file declares; if Terraform makes its name, only the beginning is known."""
    cell = profile.cell
    name = cell["name"].text or f"{cell['name_prefix'].text or 'terraform-'}*"
    path = cell["path"].text
    return None if path is None else f"{declare.PROFILE}{path or '/'}{name}"


def _other_version(template: Resource, version: str | None) -> str:
    """Why the version that is used may not be the one that the file declares; empty if it is."""
    cell = template.cell
    latest, default = cell["latest_version"].text, cell["default_version"].text
    if version is None or version == "$Latest" or (latest and version == latest):
        return ""
    if template.created and version == "1":
        return ""
    if version in {"", "$Default"}:
        if template.created or cell["update_default_version"].value is True or (latest and default == latest):
            return ""
        return f"it uses the default version of {template.address}, which may be an earlier one"
    return f"it uses version {version} of {template.address}, which may be an earlier one"


def _tags(cell: Cell) -> Tags:
    if not cell.known or not isinstance(cell.value, Mapping | None):
        return Tags(complete=False)
    # A value that isn't known is left out, so its key is there only.
    keys = dict.fromkeys([*as_map(cell.value), *(key for key, flag in as_map(cell.unknown).items() if flag)])
    texts = {key: cell[key].text for key in keys if cell[key].value is not None or not cell[key].known}
    known = {key: text for key, text in texts.items() if text is not None}
    return Tags(known, frozenset(texts.keys() - known.keys()))


def _tag(cell: Cell) -> Tags:
    """One tag of a block, a map or a resource; of a group's it may say whether instances get it."""
    flag = cell["propagate_at_launch"]
    propagated = flag.value is None or str(flag.value).lower() in _TRUE
    return declare.tag(cell["key"].text, cell["value"].text, propagated=propagated if flag.known else None)


# ---- resources ----


def _instance(plan: _Plan, resource: Resource) -> Read:
    # Of one that runs already, the state says what it got of its template.
    blocks = list(resource.cell["launch_template"]) if resource.created else []
    base = plan.source(resource, blocks[0]) if blocks else Source(resource.address)
    own = plan.profile(resource, resource.cell["iam_instance_profile"], computed=True)
    # Those of a Spot request tag the request.
    tags = plan.tags(resource) if resource.type == "aws_instance" else Tags()
    return [declare.instead(base, resource.address, own, attribute=_ARGUMENT)], plan.beside(resource).over(tags)


def _group(plan: _Plan, resource: Resource) -> Read:
    # Providers before version 5 have a list of maps too.
    blocks, maps = resource.cell["tag"], resource.cell["tags"]
    own = Tags(complete=blocks.known and maps.known)
    for each in (*blocks, *maps):
        own = _tag(each).over(own)
    tags = plan.beside(resource).over(own).over(declare.of_group(resource.cell["name"].text))
    return list(_sources(plan, resource)), tags


def _nodes(plan: _Plan, resource: Resource) -> Read:
    templates = [plan.source(resource, each) for each in resource.cell["launch_template"]]
    return declare.node_group(resource.address, templates)


def _sources(plan: _Plan, resource: Resource) -> Iterator[Source]:
    cell, policy = resource.cell, resource.cell["mixed_instances_policy"].block["launch_template"].block
    for each in cell["launch_template"]:
        yield plan.source(resource, each)
    for each in (policy, *policy["override"]):
        for block in each["launch_template_specification"]:
            yield plan.source(resource, block, "launch_template_")
    if cell["launch_configuration"].text != "":
        found = plan.named(resource, _CONFIGURATION, cell["launch_configuration"])
        profile = plan.profile(found, found.cell["iam_instance_profile"]) if found else ""
        yield Source(found.address, profile, attribute=_ARGUMENT) if found else declare.NO_CONFIGURATION


def _fleet(plan: _Plan, resource: Resource) -> Read:
    return [plan.source(resource, each, "launch_template_") for each in _configured(resource)], declare.OF_FLEET


def _configured(resource: Resource) -> Iterator[Cell]:
    for each in resource.cell["launch_template_config"]:
        yield from each["launch_template_specification"]


def _spot_fleet(plan: _Plan, resource: Resource) -> Read:
    sources = [plan.source(resource, each) for each in _configured(resource)]
    for each in resource.cell["launch_specification"]:
        names = ("iam_instance_profile_arn", "iam_instance_profile")
        profile = _one_of([plan.profile(resource, each[name]) for name in names])
        sources.append(Source(resource.address, profile, _tags(each["tags"]), attribute=_ARGUMENT))
    return sources, declare.OF_SPOT_FLEET


_READERS: Mapping[str, tuple[Kind, Callable[[_Plan, Resource], Read]]] = {
    _TEMPLATE: (Kind.TEMPLATE, lambda plan, resource: ([plan.of_template(resource)], Tags())),
    "aws_instance": (Kind.INSTANCE, _instance),
    "aws_spot_instance_request": (Kind.INSTANCE, _instance),
    _GROUP: (Kind.GROUP, _group),
    "aws_ec2_fleet": (Kind.FLEET, _fleet),
    "aws_spot_fleet_request": (Kind.SPOT_FLEET, _spot_fleet),
    "aws_eks_node_group": (Kind.GROUP, _nodes),
}
