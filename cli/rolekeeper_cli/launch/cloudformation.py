"""What a CloudFormation or SAM template launches.

Values are resolved as CloudFormation resolves them, as far as the template and its parameters go. The rest is UNKNOWN:
it is never guessed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper.model.instance import Target, partition_of
from rolekeeper_cli.launch import declared as declare
from rolekeeper_cli.launch.declared import Read, Source, Tags, as_list, as_map
from rolekeeper_cli.launch.view import Kind

type Node = Any  # as JSON has it: text, Boolean, list or map; an intrinsic function is a map with one key

# What a value is if it isn't known before it is deployed, and if there is none.
UNKNOWN, ABSENT = object(), object()

_INSTANCE, _TEMPLATE, _CONFIGURATION, _GROUP, _FLEET, _SPOT_FLEET, _NODES, _PROFILE = (
    "AWS::EC2::Instance",
    "AWS::EC2::LaunchTemplate",
    "AWS::AutoScaling::LaunchConfiguration",
    "AWS::AutoScaling::AutoScalingGroup",
    "AWS::EC2::EC2Fleet",
    "AWS::EC2::SpotFleet",
    "AWS::EKS::Nodegroup",
    "AWS::IAM::InstanceProfile",
)
# The property that holds the name of a resource, where another one may say it instead of its logical id.
_NAMES = {_TEMPLATE: "LaunchTemplateName", _CONFIGURATION: "LaunchConfigurationName", _PROFILE: "InstanceProfileName"}
_TEMPLATE_NAMES = ("LaunchTemplateId", "LaunchTemplateName", "Id", "Name")
# These transforms add no instances, and change none.
_KNOWN_TRANSFORMS = frozenset({"AWS::Serverless-2016-10-31", "AWS::LanguageExtensions"})
_MACRO = "the macro {} may add or change anything: give the processed template"
_TRANSFORM = "a transform makes it (Fn::ForEach, Fn::Transform): give the processed template"
# One that isn't closed takes the rest of the text, so that nothing is looked at twice.
VARIABLE = re.compile(r"\$\{(!?)([^}]*)(\}?)")
_WHOLE = re.compile(r"\$\{([A-Za-z0-9]+)(\.[A-Za-z0-9]+)?\}")
_FLAGS = {"true": True, "false": False}
_LONGEST = 2048  # an ARN; tags and names are shorter
_OF_STACK = frozenset({"aws:cloudformation:stack-name", "aws:cloudformation:stack-id"})


def launchers(
    document: Mapping[str, Node],
    name: str,
    *,
    lines: Mapping[str, int],
    parameters: Mapping[str, str],
    target: Target | None,
) -> Iterator[declare.Declared]:
    """What a template's resources launch.

    `lines` are those of each logical id, if they are known; `parameters` come in the place of the template's defaults;
    `target` is where it would be deployed, None if that isn't known.
    """
    template = _Resolver.of(document, parameters, target)
    macros = list(_macros(document))
    yield from (declare.other(macro, name, _MACRO.format(macro)) for macro in macros)
    for id_, resource in template.resources.items():
        place = f"{name}:{lines[id_]}" if id_ in lines else name
        for found in _declared(template, id_, resource, place=place) if template.is_created(resource) else ():
            unclear = _MACRO.format(macros[0]) if macros else found.launcher.unclear
            yield replace(found, launcher=replace(found.launcher, unclear=unclear))


def _declared(template: "_Resolver", id_: str, resource: Node, *, place: str) -> Iterator[declare.Declared]:
    type_ = _type(resource)
    if "Fn::Transform" in as_map(resource) or (id_.startswith("Fn::ForEach") and _launches(resource)):
        yield declare.other(id_, place, _TRANSFORM)
    elif unclear := declare.may_launch(type_):
        yield declare.other(id_, place, unclear)
    elif type_ in _READERS:
        kind, read = _READERS[type_]
        sources, tags = read(template, id_)
        if template.is_made(id_):
            sources = [Source(id_, unclear=_TRANSFORM)]
        yield from declare.declared(kind, id_, sources, tags=tags, place=place)


def _macros(document: Mapping[str, Node]) -> Iterator[str]:
    """The macros that process the whole template, or add resources to it, by name."""
    given = document.get("Transform", [])
    names = [as_map(each).get("Name", each) for each in (given if isinstance(given, list) else [given])]
    yield from (name for name in map(str, names) if name not in _KNOWN_TRANSFORMS)
    if "Fn::Transform" in document or "Fn::Transform" in as_map(document.get("Resources")):
        yield "Fn::Transform"


def _launches(given: Node) -> bool:
    """Whether any part of a loop is what launches instances."""
    type_, parts = _type(given), given if isinstance(given, list) else as_map(given).values()
    return type_ in _READERS or bool(declare.may_launch(type_)) or any(map(_launches, parts))


def _has_transform(given: Node) -> bool:
    """Whether a transform or a loop makes any part of it."""
    made = any(key == "Fn::Transform" or key.startswith("Fn::ForEach") for key in as_map(given))
    return made or any(map(_has_transform, given if isinstance(given, list) else as_map(given).values()))


def _type(resource: Node) -> str:
    found = as_map(resource).get("Type")
    return found if isinstance(found, str) else ""


# ---- values ----


@dataclass(frozen=True, eq=False)
class _Resolver:
    """Resolves the values of a template's resources."""

    sections: Mapping[str, Mapping[str, Node]]
    given: Mapping[str, str]
    pseudo: Mapping[str, str]
    _known: dict[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Node], given: Mapping[str, str], target: Target | None) -> "_Resolver":
        names, pseudo = ("Resources", "Parameters", "Conditions", "Mappings"), {}
        if target:
            account, region = target.account, target.region
            pseudo = {"AccountId": account, "Region": region, "Partition": partition_of(region)}
        return cls({name: as_map(document.get(name)) for name in names}, given, pseudo)

    def block(self, given: Node) -> Mapping[str, Node]:
        """A map, without what it leaves out by AWS::NoValue."""
        return {key: each for key, each in as_map(self.one(given)).items() if self.branches(each) != [ABSENT]}

    def items(self, given: Node) -> Sequence[Node]:
        return as_list(self.one(given))

    @property
    def resources(self) -> Mapping[str, Node]:
        return self.sections["Resources"]

    def is_created(self, resource: Node) -> bool:
        """Whether it may be created: its condition isn't known to be false."""
        name = as_map(resource).get("Condition")
        return not isinstance(name, str) or self._named_condition(name) is not False

    def is_made(self, id_: str) -> bool:
        resource = self.resources.get(id_)
        return self._remembered("made", id_, lambda: _has_transform(resource))  # type: ignore[no-any-return]

    def properties(self, id_: str) -> Mapping[str, Node]:
        return self.block(as_map(self.resources.get(id_)).get("Properties"))

    def branches(self, given: Node) -> list[Node]:
        """What a value may be: each branch of a condition that isn't known."""
        match given:
            case None | {"Ref": "AWS::NoValue"}:
                return [ABSENT]
            case {"Fn::If": [str(condition), yes, no]}:
                truth = self._named_condition(condition)
                some = [] if truth is False else self.branches(yes)
                return some if truth else [*some, *self.branches(no)]
        return [given]

    def one(self, given: Node) -> Node:
        """The value, with a function at its top resolved: text, list, map, UNKNOWN or ABSENT."""
        found = [self._called(each) for each in self.branches(given)]
        return found[0] if all(each == found[0] for each in found) else UNKNOWN

    def text(self, given: Node) -> str | None:
        """A text; None if it isn't known, or is none."""
        found = self.one(given)
        if isinstance(found, bool):
            return str(found).lower()
        known = isinstance(found, str) and len(found) <= _LONGEST and "{{resolve:" not in found
        return found if known else None

    def _called(self, given: Node) -> Node:
        match given:
            case {"Ref": str(name)} if len(given) == 1:
                return self._referred(name)
            case {"Fn::Sub": str(text)}:
                return self._substituted(text, {})
            case {"Fn::Sub": [str(text), dict(variables)]}:
                return self._substituted(text, variables)
            case {"Fn::Join": [str(separator), parts]}:
                items = self.one(parts)
                texts = [self.text(each) for each in as_list(items)]
                known = [each for each in texts if each is not None]
                return separator.join(known) if isinstance(items, list) and known == texts else UNKNOWN
            case {"Fn::Select": [number, parts]}:
                index, items = self.text(number) or "", self.items(parts)
                return self.one(items[int(index)]) if index.isdecimal() and int(index) < len(items) else UNKNOWN
            case {"Fn::FindInMap": [name, first, second, *_]}:
                keys = [self.text(each) or "" for each in (name, first, second)]
                found: Node = self.sections["Mappings"]
                for key in keys:
                    found = as_map(found).get(key)
                return UNKNOWN if found is None else found
        if isinstance(given, dict) and len(given) == 1 and next(iter(given)).startswith(("Fn::", "Ref", "Condition")):
            return UNKNOWN
        return given

    def _referred(self, name: str) -> Node:
        """A parameter's value, what is known of the stack, or the name of an instance profile."""
        if name.startswith("AWS::"):
            return self.pseudo.get(name.removeprefix("AWS::"), UNKNOWN)
        if name in self.sections["Parameters"]:
            parameter = as_map(self.sections["Parameters"][name])
            value, kind = self.given.get(name, parameter.get("Default")), str(parameter.get("Type"))
            if not isinstance(value, str) or kind.startswith("AWS::SSM::"):
                return UNKNOWN
            is_list = kind.startswith("List<") or kind == "CommaDelimitedList"
            return [each.strip() for each in value.split(",")] if is_list else value
        if _type(self.resources.get(name)) == _PROFILE:
            return self._remembered(
                "name", name, lambda: self.one(self.properties(name).get(_NAMES[_PROFILE], UNKNOWN))
            )
        return UNKNOWN

    def _substituted(self, text: str, variables: Mapping[str, Node]) -> Node:
        def value(found: re.Match[str]) -> str:
            if found[1] and found[3]:
                return f"${{{found[2]}}}"
            name = found[2].strip()
            text = self.text(variables[name]) if name in variables else self.text({"Ref": name})
            unknown.append(text is None or not found[3])
            return text or ""

        unknown: list[bool] = []
        made = VARIABLE.sub(value, text)
        return UNKNOWN if any(unknown) else made

    def _remembered(self, kind: str, name: str, resolve: Callable[[], Any]) -> Any:
        """What a name stands for, resolved once: a template may mention it in each of many others."""
        if (kind, name) not in self._known:
            self._known[kind, name] = resolve()
        return self._known[kind, name]

    # ---- conditions: True, False, or None for unknown ----

    def _named_condition(self, name: str) -> bool | None:
        found = self.sections["Conditions"].get(name)
        return self._remembered("condition", name, lambda: self._holds(found))  # type: ignore[no-any-return]

    def _holds(self, given: Node) -> bool | None:
        match given:
            case {"Condition": str(name)}:
                return self._named_condition(name)
            case {"Fn::Equals": [first, second]}:
                texts = self.text(first), self.text(second)
                return None if None in texts else texts[0] == texts[1]
            case {"Fn::Not": [one]}:
                truth = self._holds(one)
                return None if truth is None else not truth
            case {"Fn::And": list(parts)}:
                truths = [self._holds(each) for each in parts]
                return False if False in truths else None if None in truths else True
            case {"Fn::Or": list(parts)}:
                truths = [self._holds(each) for each in parts]
                return True if True in truths else None if None in truths else False
        return None

    # ---- what instances start with ----

    def id_of(self, given: Node, type_: str) -> str:
        """The logical id of the template's resource that a value names; empty if that is none."""
        match given:
            case {"Ref": str(found)} | {"Fn::GetAtt": [str(found), *_]}:
                id_ = found
            case {"Fn::Sub": str(text)} if whole := _WHOLE.fullmatch(text):
                id_ = whole[1]
            case _:
                id_ = ""
        if _type(self.resources.get(id_)) == type_:
            return id_
        name = self.text(given)
        ids = (each for each, resource in self.resources.items() if name and _type(resource) == type_)
        return next((each for each in ids if self.text(self.properties(each).get(_NAMES[type_])) == name), "")

    def profile(self, given: Node) -> str | None:
        """An instance profile as `Launcher.profile` has it; one that the template declares by path and name."""
        found = {self._profile(each) for each in self.branches(given)}
        return found.pop() if len(found) == 1 else None

    def _profile(self, given: Node) -> str | None:
        if given is ABSENT:
            return ""
        match given:
            case {"Name": name}:
                return self.profile(name)
            case {"Arn": arn}:
                return self.profile(arn)
        id_ = self.id_of(given, _PROFILE)
        if not id_:
            return self.text(given)
        if self.is_made(id_):
            return None
        properties = self.properties(id_)
        # CloudFormation makes a name of the stack's, the logical id and random characters.
        name = self.text(properties[_NAMES[_PROFILE]]) if _NAMES[_PROFILE] in properties else f"*-{id_}-*"
        path = self.text(properties.get("Path", "/"))
        return f"{declare.PROFILE}{path}{name}" if path and name else None

    def tags(self, given: Node, *, propagated: bool = False) -> Tags:
        """A list of tags; of a group's, those that are `propagated` to its instances."""
        lists, tags = self.branches(given), Tags()
        for some in map(self._called, lists):
            these = Tags(complete=some is ABSENT or isinstance(some, list))
            for entries in map(self.branches, as_list(some)):
                for entry in (as_map(each) for each in map(self._called, entries) if each is not ABSENT):
                    certain = not propagated or _FLAGS.get(self.text(entry.get("PropagateAtLaunch")) or "")
                    one = declare.tag(self.text(entry.get("Key")), self.text(entry.get("Value")), propagated=certain)
                    these = (one if len(entries) == 1 else one.doubtful).over(these)
            tags = (these if len(lists) == 1 else these.doubtful).over(tags)
        return tags

    def specified_tags(self, given: Node) -> Tags:
        found, tags = self.one(given), Tags()
        if found is ABSENT:
            return tags
        for each in map(self.one, as_list(found)):
            kind = self.text(as_map(each).get("ResourceType"))
            if kind == "instance":
                tags = self.tags(as_map(each).get("Tags")).over(tags)
            elif kind is None:
                tags = replace(tags, complete=False)
        return tags if isinstance(found, list) else replace(tags, complete=False)

    def source(self, given: Node) -> Source:
        found = self.block(given)
        named = next((found[each] for each in _TEMPLATE_NAMES if each in found), None)
        id_, version = self.id_of(named, _TEMPLATE), found.get("Version", "$Default")
        if not id_:
            return declare.other_template(self.text(named) or "")
        # An update of the stack makes a version, and leaves the default one as it was (docs/AWS_FACTS.md).
        number = f"{id_}.LatestVersionNumber"
        latest = [{"Fn::GetAtt": number.split(".")}, {"Fn::Sub": f"${{{number}}}"}]
        is_latest = version in latest or self.text(version) == "$Latest"
        source = self.of_template(id_)
        unclear = "" if is_latest else f"which version of {id_} it uses isn't known"
        return replace(source, unclear=source.unclear or unclear)

    def of_template(self, id_: str) -> Source:
        data = self.block(self.properties(id_).get("LaunchTemplateData"))
        return Source(
            id_,
            self.profile(data.get("IamInstanceProfile")),
            self.specified_tags(data.get("TagSpecifications")).over(declare.OF_TEMPLATE),
            attribute="LaunchTemplateData: {{IamInstanceProfile: {{Name: {name}}}}}",
            template=True,
            unclear=_TRANSFORM if self.is_made(id_) or not data else "",
        )


# ---- resources: what their instances start from, and the tags that they get besides ----


def _instance(template: _Resolver, id_: str) -> Read:
    properties = template.properties(id_)
    base = template.source(properties["LaunchTemplate"]) if "LaunchTemplate" in properties else Source(id_)
    own = template.profile(properties.get("IamInstanceProfile"))
    source = declare.instead(base, id_, own, attribute="IamInstanceProfile: {name}")
    return [source], template.tags(properties.get("Tags")).over(_of_stack(id_))


def _group(template: _Resolver, id_: str) -> Read:
    properties = template.properties(id_)
    name = template.text(properties.get("AutoScalingGroupName"))
    tags = template.tags(properties.get("Tags"), propagated=True).over(_of_stack(id_)).over(declare.of_group(name))
    if "LaunchConfigurationName" in properties:
        return [_configuration(template, properties["LaunchConfigurationName"])], tags
    if "MixedInstancesPolicy" not in properties:
        return [template.source(properties.get("LaunchTemplate"))], tags
    policy = template.block(template.block(properties["MixedInstancesPolicy"]).get("LaunchTemplate"))
    overrides = [template.block(each) for each in template.items(policy.get("Overrides"))]
    return _specified(template, [policy, *(each for each in overrides if "LaunchTemplateSpecification" in each)]), tags


def _configuration(template: _Resolver, named: Node) -> Source:
    id_ = template.id_of(named, _CONFIGURATION)
    if not id_:
        return declare.NO_CONFIGURATION
    profile = template.profile(template.properties(id_).get("IamInstanceProfile"))
    unclear = _TRANSFORM if template.is_made(id_) else ""
    return Source(id_, profile, attribute="IamInstanceProfile: {name}", unclear=unclear)


def _specified(template: _Resolver, found: Sequence[Node]) -> Sequence[Source]:
    return [template.source(template.block(each).get("LaunchTemplateSpecification")) for each in found]


def _fleet(template: _Resolver, id_: str) -> Read:
    properties = template.properties(id_)
    instant = template.text(properties.get("Type")) == "instant"
    tags = template.specified_tags(properties.get("TagSpecifications")) if instant else Tags()
    return _specified(template, template.items(properties.get("LaunchTemplateConfigs"))), tags.over(declare.OF_FLEET)


def _spot_fleet(template: _Resolver, id_: str) -> Read:
    config = template.block(template.properties(id_).get("SpotFleetRequestConfigData"))
    sources = [*_specified(template, template.items(config.get("LaunchTemplateConfigs")))]
    arn = "arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:instance-profile{path}{name}"
    for each in map(template.block, template.items(config.get("LaunchSpecifications"))):
        profile = template.profile(each.get("IamInstanceProfile"))
        tags = template.specified_tags(each.get("TagSpecifications"))
        sources.append(Source(id_, profile, tags, attribute=f"IamInstanceProfile: {{{{Arn: !Sub '{arn}'}}}}"))
    return sources, declare.OF_SPOT_FLEET


def _nodes(template: _Resolver, id_: str) -> Read:
    given = template.properties(id_).get("LaunchTemplate")
    return declare.node_group(id_, [template.source(given)] if given else [])


def _of_stack(id_: str) -> Tags:
    return Tags({"aws:cloudformation:logical-id": id_}, _OF_STACK)


_READERS: Mapping[str, tuple[Kind, Callable[[_Resolver, str], Read]]] = {
    _TEMPLATE: (Kind.TEMPLATE, lambda template, id_: ([template.of_template(id_)], Tags())),
    _INSTANCE: (Kind.INSTANCE, _instance),
    _GROUP: (Kind.GROUP, _group),
    _FLEET: (Kind.FLEET, _fleet),
    _SPOT_FLEET: (Kind.SPOT_FLEET, _spot_fleet),
    _NODES: (Kind.GROUP, _nodes),
}
