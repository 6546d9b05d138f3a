"""What a file declares that launches instances, as far as it is known before it is deployed."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper_cli.launch.use import Launcher, Template
from rolekeeper_cli.launch.view import Kind

# The beginning of the ARN of an instance profile that the file declares: its account isn't known.
PROFILE = "arn:aws:iam:::instance-profile"
# Types, without colons and underscores, of what launches instances in the account, or makes resources that may, in ways
# that a file doesn't say; of CloudFormation and of Terraform's providers `aws` and `awscc`.
_OTHERS = re.compile(
    r"aws(cc)?(batchcomputeenvironment|cloud9environmentec2|cloudcontrolapiresource|cloudformationstack(set)?(instances?)?"
    r"|ecscapacityprovider|elasticbeanstalkenvironment|emr(cluster|instance(fleet|group)(config)?)|gameliftgameservergroup"
    r"|imagebuilderimage(pipeline)?|pcscomputenodegroup|serverlessapplication(repositorycloudformationstack)?"
    r"|servicecatalog(cloudformation)?provisionedproduct)"
    r"|awscc(autoscaling(autoscalinggroup|launchconfiguration)|ec2(ec2fleet|instance|launchtemplate|spotfleet)|eksnodegroup)"
    r"|.*::module"
)


def as_map(given: Any) -> Mapping[str, Any]:
    """A map of a file; empty in the place of what is none."""
    return given if isinstance(given, Mapping) else {}


def as_list(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list) else ()


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags that instances will have."""

    known: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()  # keys whose value isn't known yet, or whether instances have them at all
    complete: bool = True  # False if there may be others

    def over(self, other: "Tags") -> "Tags":
        """Both; of a key that both have, this one's."""
        theirs = {key: value for key, value in other.known.items() if key not in self.unknown}
        unknown = self.unknown | (other.unknown - self.known.keys())
        return Tags({**theirs, **self.known}, unknown, complete=self.complete and other.complete)

    @property
    def doubtful(self) -> "Tags":
        """The same if it isn't known whether instances get them."""
        return Tags(unknown=self.unknown | self.known.keys(), complete=self.complete)


def tag(key: str | None, value: str | None, *, propagated: bool | None = True) -> Tags:
    """One tag; None is what isn't known of it."""
    if propagated is False:
        return Tags()
    if key is None:
        return Tags(complete=False)
    return Tags({key: value}) if value is not None and propagated else Tags(unknown=frozenset({key}))


OF_TEMPLATE = Tags(unknown=frozenset({"aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"}))
OF_FLEET = Tags(unknown=frozenset({"aws:ec2:fleet-id"}))
OF_SPOT_FLEET = Tags(unknown=frozenset({"aws:ec2spot:fleet-request-id"}))
OF_NODES = Tags(unknown=frozenset({"eks:cluster-name", "eks:nodegroup-name"}))


@dataclass(frozen=True, slots=True)
class Source:
    """What says in a file what instances start with: a launch template, or what is in its place; else as `Launcher`."""

    name: str
    profile: str | None = ""
    tags: Tags = Tags()
    attribute: str = ""  # how an instance profile is written in `name`, with its `{name}` and its `{path}`
    template: bool = False
    service: str = ""
    unclear: str = ""


# What a resource says of its instances: from what they start, and the tags that they get besides.
type Read = tuple[Sequence[Source], Tags]

NO_TEMPLATE = Source("", unclear="its launch template isn't known before it is deployed")
NO_CONFIGURATION = Source("", unclear="its launch configuration isn't in the file")


def other_template(name: str) -> Source:
    return Source(name, unclear=f"launch template {name} isn't in the file") if name else NO_TEMPLATE


def of_group(name: str | None) -> Tags:
    return tag("aws:autoscaling:groupName", name or None)


def instead(base: Source, name: str, profile: str | None, *, attribute: str) -> Source:
    """What an instance starts with that may have a launch template: its own profile comes first."""
    # Whether a launch template's tags are added to the instance's own is said nowhere (docs/AWS_FACTS.md).
    starts_with = base.profile if profile == "" else profile
    return Source(name, starts_with, base.tags.doubtful, attribute=attribute, unclear=base.unclear)


@dataclass(frozen=True, slots=True)
class Declared:
    """A launcher of a file, and the source of what its instances start with."""

    launcher: Launcher
    source: Source


def declared(kind: Kind, name: str, sources: Sequence[Source], *, tags: Tags, place: str) -> Iterator[Declared]:
    """A launcher for each source. Its own tags win over those of the source."""
    sources = sources or [NO_TEMPLATE]
    for source in (each for number, each in enumerate(sources) if each not in sources[:number]):
        both = tags.over(source.tags)
        unclear = source.unclear or ("" if both.complete else "the keys of its tags aren't known before it is deployed")
        template = Template("", source.name, asked="") if source.template else None
        launcher = Launcher(
            kind=kind,
            name=name,
            profile=source.profile,
            tags=both.known,
            unknown_tags=both.unknown,
            service=source.service,
            template=template,
            place=place,
            unclear=unclear,
        )
        yield Declared(launcher, source)


def node_group(name: str, sources: Sequence[Source]) -> Read:
    """A managed node group of EKS: its template's tags, and the role of the group, for which EKS makes the profile."""
    of_eks = [replace(each, profile=f"{PROFILE}/eks-*", service="EKS") for each in sources or [Source(name)]]
    return of_eks, OF_NODES


def other(name: str, place: str, unclear: str) -> Declared:
    """What launches instances of which the file doesn't say what they start with, or may make what launches some."""
    return Declared(Launcher(Kind.OTHER, name, profile=None, tags={}, place=place, unclear=unclear), Source(name))


def may_launch(type_: str) -> str:
    """Why it isn't known what a resource of this type launches; empty if it launches nothing, or the file says it."""
    launches = _OTHERS.fullmatch(re.sub("_|::(?!MODULE$)", "", type_).lower())
    return f"{type_} may launch instances, and the file doesn't say what they start with" if launches else ""


def with_users(found: Iterable[Declared]) -> Iterator[Declared]:
    """The same, each launch template with what uses it. One that only node groups use is theirs."""
    everything, users = list(found), defaultdict(list)
    for launcher in (each.launcher for each in everything):
        if launcher.template and launcher.kind is not Kind.TEMPLATE:
            users[launcher.template.name].append(launcher)
    for each in everything:
        used_by = users[each.launcher.name] if each.launcher.kind is Kind.TEMPLATE else []
        launcher = replace(each.launcher, used_by=tuple(sorted({user.name for user in used_by})))
        if used_by and all(user.service for user in used_by):
            launcher = replace(launcher, profile=used_by[0].profile, service=used_by[0].service)
        yield replace(each, launcher=launcher)
