"""What launches instances in a target, as EC2 and Auto Scaling describe it: templates, groups and fleets.

A template's versions `$Default` and `$Latest` come for all templates in one paged call; another version that a group
or a fleet names is asked for by its number.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import batched
from typing import Any

from rolekeeper.aws.errors import PermanentError, classified
from rolekeeper.instances.decide import mapping_keys
from rolekeeper.instances.nodes import node_of
from rolekeeper.model.instance import Instance, InstanceKey, InstanceState
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.seen import Enforced
from rolekeeper_cli.instance.use import account_options
from rolekeeper_cli.launch.use import Forecast, Launcher, Rules, Template, forecast
from rolekeeper_cli.launch.view import Kind
from rolekeeper_cli.row.effect import Rows, published_there
from rolekeeper_cli.shell.layout import arn_name
from rolekeeper_cli.target.use import Places

type Document = Mapping[str, Any]

_DEFAULT, _LATEST = "$Default", "$Latest"
_OLD = "describe_launch_configurations"
# Of fleets that launch nothing any more (EC2 API reference, `FleetStateCode`, `BatchState`).
_OVER = frozenset({"deleted", "deleted_running", "deleted_terminating", "failed"})
_OVER |= {"cancelled", "cancelled_running", "cancelled_terminating"}
# Those that an AWS service manages too.
_ALL = {"IncludeManagedResources": True}
# DescribeLaunchConfigurations takes so many names (Auto Scaling API reference).
_CONFIGURATIONS = 50
# What EC2 and Auto Scaling add to each instance (EC2 user guide, "Tag your resources"; Auto Scaling user guide,
# "Tag Auto Scaling groups and instances").
_OF_TEMPLATE, _OF_VERSION = "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"
_OF_GROUP, _OF_FLEET, _OF_SPOT_FLEET = "aws:autoscaling:groupName", "aws:ec2:fleet-id", "aws:ec2spot:fleet-request-id"
# The one of these that names what launched the instance.
ORIGINS = {Kind.TEMPLATE: _OF_TEMPLATE, Kind.GROUP: _OF_GROUP, Kind.FLEET: _OF_FLEET, Kind.SPOT_FLEET: _OF_SPOT_FLEET}
# The names that services give what they make (Karpenter, "NodeClasses"; EKS user guide, "Launch templates"; eksctl).
_MADE_BY = {
    "Karpenter": re.compile(r"karpenter\.k8s\.aws/"),
    "EKS": re.compile(r"eks-.*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|eksctl-"),
}
# Errors for a template, or a version of one, that was deleted under a group (EC2 API reference, "Error codes").
_GONE = frozenset(
    {
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidLaunchTemplateId.VersionNotFound",
    }
)


def forecasts(place: Deployment) -> list[Forecast]:
    """What each launcher of a target will do to the role of its instances; raises AwsRefusalError."""
    found = launchers(place)
    rules = rules_of(place, found)
    return [forecast(each, rules) for each in found]


def everywhere(deployment: Deployment, places: Places) -> Iterator[Forecast]:
    """The same of each target that can be read; shows how far it is."""
    with deployment.progress(len(places.all), "targets read") as progress:
        for each in progress.over(places.ask(lambda place: [forecasts(place)])):
            yield from each


def rules_of(place: Deployment, found: Iterable[Launcher]) -> Rules:
    wanted = {key: None for each in found for key in mapping_keys(each.tags)}
    snapshot, rows = Enforced.of(place).read((), wanted), Rows(place)
    rows.read(wanted)

    @cache
    def profile_arn(written: str) -> str | None:
        known = place.app.iam.get_instance_profile(arn_name(written))
        return known.arn if known else None

    return Rules(
        place.settings.target,
        place.settings.ownership,
        now=place.now(),
        published=snapshot.published,
        profile_arn=profile_arn,
        damaged={key: error for key, error in snapshot.damaged.items() if isinstance(key, MappingKey)},
        options=account_options(place),
        rows=rows.of_keys,
        unknown=rows.unknown,
        there=partial(published_there, place),
    )


def launchers(place: Deployment) -> list[Launcher]:
    account = _Account(place)
    users = [*account.groups(), *account.fleets(), *account.spot_fleets()]
    used = defaultdict[str, set[str]](set)
    for each in users:
        if each.template:
            used[each.template.id].add(each.name)
    for number, each in enumerate(users):
        if each.template:
            users[number] = replace(each, beside=tuple(sorted(used[each.template.id] - {each.name})))
    return [*users, *account.templates(used)]


@dataclass
class _Account:
    """What one target answers."""

    place: Deployment
    _versions: dict[tuple[str, str], Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        newest: dict[str, Document] = {}
        for each in self._versions_of(Versions=[_DEFAULT, _LATEST]):
            # A template whose latest version is its default has one.
            id_, number = each["LaunchTemplateId"], each["VersionNumber"]
            if each["DefaultVersion"]:
                self._keep(each, _DEFAULT)
            if id_ not in newest or newest[id_]["VersionNumber"] <= number:
                newest[id_] = each
        for each in newest.values():
            self._keep(each, _LATEST)

    def templates(self, used: Mapping[str, set[str]]) -> Iterator[Launcher]:
        """Each template's default version, and the latest one if that is another."""
        for (id_, asked), version in list(self._versions.items()):
            same = self._versions.get((id_, _DEFAULT), {}).get("VersionNumber") == version["VersionNumber"]
            if id_ == version["LaunchTemplateId"] and (asked == _DEFAULT or (asked == _LATEST and not same)):
                users = tuple(sorted(used.get(id_, ())))
                base = Launcher(
                    Kind.TEMPLATE, version["LaunchTemplateName"], profile="", tags={}, id=id_, used_by=users
                )
                yield _of_version(base, version, asked)

    def groups(self) -> Iterator[Launcher]:
        """Auto Scaling groups, each once for each template that it launches from."""
        found = list(self._items("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"))
        old = self._configurations({each.get("LaunchConfigurationName", "") for each in found} - {""})
        for group in found:
            name, rows = group["AutoScalingGroupName"], group.get("Tags", ())
            tags = {**_tags(each for each in rows if each.get("PropagateAtLaunch")), _OF_GROUP: name}
            service, operator = _service(name, _tags(rows)), _operator(group)
            base = Launcher(Kind.GROUP, name, profile="", tags=tags, id=name, service=service, operator=operator)
            base = replace(base, mixed="MixedInstancesPolicy" in group)
            policy = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
            specified = [group.get("LaunchTemplate"), policy.get("LaunchTemplateSpecification")]
            yield from self._from(base, [*specified, *_specified(policy.get("Overrides", ()))])
            if configuration := old.get(group.get("LaunchConfigurationName", "")):
                yield replace(base, profile=configuration.get("IamInstanceProfile", ""))

    def _configurations(self, wanted: Iterable[str]) -> dict[str, Document]:
        """Launch configurations by name, which older groups have in the place of a template."""
        return {
            each["LaunchConfigurationName"]: each
            for some in batched(sorted(wanted), _CONFIGURATIONS)
            for each in self._items("autoscaling", _OLD, "LaunchConfigurations", LaunchConfigurationNames=list(some))
        }

    def fleets(self) -> Iterator[Launcher]:
        """EC2 Fleets that still launch. EC2 doesn't list those of the type `instant`, which launch once."""
        for fleet in self._items("ec2", "describe_fleets", "Fleets"):
            if fleet.get("FleetState") not in _OVER:
                id_, name = fleet["FleetId"], _tags(fleet.get("Tags", ())).get("Name")
                base = Launcher(Kind.FLEET, name or id_, profile="", tags={_OF_FLEET: id_}, id=id_)
                yield from self._from(base, _specified(fleet.get("LaunchTemplateConfigs", ())))

    def spot_fleets(self) -> Iterator[Launcher]:
        """Spot Fleet requests that still launch, with a template or with specifications of their own."""
        for request in self._items("ec2", "describe_spot_fleet_requests", "SpotFleetRequestConfigs"):
            if request.get("SpotFleetRequestState") not in _OVER:
                id_, config = request["SpotFleetRequestId"], request["SpotFleetRequestConfig"]
                name = _tags(request.get("Tags", ())).get("Name")
                base = Launcher(Kind.SPOT_FLEET, name or id_, profile="", tags={_OF_SPOT_FLEET: id_}, id=id_)
                yield from self._from(base, _specified(config.get("LaunchTemplateConfigs", ())))
                for each in config.get("LaunchSpecifications", ()):
                    yield replace(base, profile=_profile(each)[0], tags={**_instance_tags(each), **base.tags})

    def _from(self, base: Launcher, specified: Iterable[Document | None]) -> Iterator[Launcher]:
        """The same launcher with each version of a template that it launches from."""
        once: dict[tuple[str, int], Launcher] = {}
        for each in filter(None, specified):
            asked, number = each.get("Version") or _DEFAULT, 0
            made = replace(base, broken=f"there is no version {asked} of launch template {_name(each)}")
            if version := self._version(each, asked):
                made, number = _of_version(base, version, asked), version["VersionNumber"]
            once.setdefault((version["LaunchTemplateId"] if version else _name(each), number), made)
        yield from once.values()

    def _version(self, specified: Document, asked: str) -> Document | None:
        name = _name(specified)
        if (name, asked) not in self._versions:
            by = "LaunchTemplateId" if specified.get("LaunchTemplateId") else "LaunchTemplateName"
            try:
                for each in self._versions_of(**{by: name, "Versions": [asked]}):
                    self._keep(each, asked)
            except PermanentError as error:
                if error.code not in _GONE:
                    raise
        return self._versions.get((name, asked))

    def _keep(self, version: Document, asked: str) -> None:
        for name in (version["LaunchTemplateId"], version["LaunchTemplateName"]):
            self._versions[name, asked] = self._versions[name, str(version["VersionNumber"])] = version

    def _versions_of(self, **asked: Any) -> Iterator[Document]:
        return self._items("ec2", "describe_launch_template_versions", "LaunchTemplateVersions", **asked, **_ALL)

    def _items(self, service: str, call: str, member: str, **asked: Any) -> Iterator[Document]:
        place, action = self.place, f"{service}:{''.join(word.capitalize() for word in call.split('_'))}"
        with classified(action, "*"):
            client = place.client_in(place.settings, service) if place.elsewhere else place.client(service)
            for page in client.get_paginator(call).paginate(**asked):
                yield from page[member]


def _of_version(base: Launcher, version: Document, asked: str) -> Launcher:
    """The same launcher with a version of a template; of a key that both have, the launcher's own tag counts."""
    data, id_, number = version["LaunchTemplateData"], version["LaunchTemplateId"], version["VersionNumber"]
    profile, member = _profile(data)
    name = version["LaunchTemplateName"]
    return replace(
        base,
        profile=profile,
        tags={**_instance_tags(data), _OF_TEMPLATE: id_, _OF_VERSION: str(number), **base.tags},
        operator=base.operator or _operator(data) or _operator(version),
        service=base.service or _service(name, {}),
        template=Template(id_, name, number, asked=asked, member=member),
    )


def _specified(rows: Iterable[Document]) -> list[Document | None]:
    return [each.get("LaunchTemplateSpecification") for each in rows]


def _name(specified: Document) -> str:
    return str(specified.get("LaunchTemplateId") or specified.get("LaunchTemplateName", ""))


def _service(name: str, tags: Mapping[str, str]) -> str:
    """The service whose nodes are launched: by the name that it gives, or by tags, also those that stay on a group."""
    made_by = next((service for service, pattern in _MADE_BY.items() if pattern.match(name)), "")
    return made_by or node_of(Instance(InstanceKey("", "", ""), InstanceState.PENDING, tags), "")


def _operator(described: Document) -> str:
    """The AWS service that EC2 or Auto Scaling names as what manages it; empty for none."""
    found = described.get("Operator", {})
    return str(found.get("Principal") or "an AWS service") if found.get("Managed") else ""


def _profile(data: Document) -> tuple[str, str]:
    """The instance profile of a template or a specification, and the member that names it."""
    given = data.get("IamInstanceProfile", {})
    return (given["Arn"], "Arn") if given.get("Arn") else (given.get("Name", ""), "Name")


def _instance_tags(data: Document) -> dict[str, str]:
    rows = (each for each in data.get("TagSpecifications", ()) if each.get("ResourceType") == "instance")
    return _tags(tag for each in rows for tag in each.get("Tags", ()))


def _tags(rows: Iterable[Document]) -> dict[str, str]:
    return {each["Key"]: each.get("Value", "") for each in rows}
