"""What will happen to the role of instances that aren't launched yet: decided as the functions decide it.

`Launcher` is what launches instances: a template, a group, a fleet, or an instance that a file declares. `forecast`
takes one of its instances as it will be once it runs, and asks `asked_for`, as `decide` does.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from shlex import quote

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Observation, asked_for, mapping_keys, resolve
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.model.instance import (
    Action,
    Association,
    AssociationState,
    Instance,
    InstanceKey,
    InstanceRecord,
    InstanceState,
    Target,
)
from rolekeeper.model.mapping import NO_ROLE, Control, MappingKey, Mode, PublishedMapping
from rolekeeper.settings import Ownership
from rolekeeper_cli.instance.seen import Seen, profile_name
from rolekeeper_cli.instance.view import StepView
from rolekeeper_cli.launch.view import Kind, LaunchView, TemplateVersionView, Verdict
from rolekeeper_cli.row.effect import Effect, Row, of_instance
from rolekeeper_cli.shell.layout import arn_name, several

# What a pipeline may stop for: instances start with another role than their tags ask for.
WRONG = frozenset({Verdict.OCCUPIED, Verdict.BLOCKED, Verdict.REPLACED, Verdict.LATE, Verdict.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Template:
    """The version of a launch template that is used."""

    id: str
    name: str
    number: int = 0  # of the version, 0 if it isn't known
    asked: str = "$Default"  # how the launcher names the version: `$Default`, `$Latest` or a number
    member: str = "Name"  # how it names the instance profile: `Name` or `Arn`. A new version has to use the same.

    def view(self) -> TemplateVersionView:
        version, number = self.asked or None, self.number or None
        return TemplateVersionView(id=self.id or None, name=self.name, version=version, number=number)


@dataclass(frozen=True, slots=True)
class Launcher:
    """What launches instances, and what they start with."""

    kind: Kind
    name: str
    # The instance profile as written, a name or an ARN; empty for none. None: it can't be known yet.
    profile: str | None
    tags: Mapping[str, str]  # those that an instance has from its launch on
    id: str = ""
    unknown_tags: frozenset[str] = frozenset()  # keys of tags whose values can't be known yet
    operator: str = ""  # the AWS service that manages the instances, as EC2 says; empty for none
    service: str = ""  # the one whose nodes they are, by tags and names: EKS, Karpenter, ECS; empty for none
    template: Template | None = None  # the launch template behind it, if it has one
    used_by: tuple[str, ...] = ()  # what launches from this template, each by its name
    beside: tuple[str, ...] = ()  # what else launches from its template, each by its name
    mixed: bool = False  # whether a mixed instances policy names its template
    place: str = ""  # where a file declares it
    broken: str = ""  # why it can't launch anything; empty if it can
    unclear: str = ""  # why it can't be known yet what its instances start with; empty if it can

    @property
    def profile_name(self) -> str:
        return arn_name(self.profile or "")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will happen to the role of a launcher's instances."""

    launcher: Launcher
    verdict: Verdict
    code: str  # the decision's code, or `profile-missing`, `not-known`
    reason: str
    target: Target
    carries: str = ""  # the profile that they start with, by ARN; empty for none. `should_carry` is the one in the end
    should_carry: str = ""
    mapping: MappingKey | None = None
    effect: Effect = field(default_factory=Effect)
    steps: Sequence[StepView] = field(default=())

    @property
    def urgency(self) -> tuple[int, str, str]:
        """Sorts those first that a person should look at."""
        return list(Verdict).index(self.verdict), self.launcher.kind, self.launcher.name

    @property
    def names(self) -> set[str]:
        """What a person may type for it."""
        return {self.launcher.name, self.launcher.id, f"{self.target}/{self.launcher.name}"}

    @property
    def is_beside(self) -> bool:
        """Whether it is a template whose instances get their tags from the groups and fleets that use it."""
        return bool(self.launcher.used_by) and self.verdict is Verdict.NO_MAPPING

    @property
    def starts_wrong(self) -> bool:
        """Whether what it starts from should name another role. Nodes of EKS and Karpenter don't get theirs there."""
        of_template = self.launcher.service not in {"EKS", "Karpenter"}
        return of_template and self.verdict in {Verdict.LATE, Verdict.REPLACED, Verdict.OCCUPIED}

    def view(self) -> LaunchView:
        launcher = self.launcher
        return LaunchView(
            kind=launcher.kind.value,
            name=launcher.name,
            id=launcher.id or None,
            account=self.target.account or None,
            region=self.target.region or None,
            place=launcher.place or None,
            verdict=self.verdict.value,
            code=self.code,
            reason=self.reason,
            carries=profile_name(self.carries),
            should_carry=profile_name(self.should_carry),
            mapping=str(self.mapping) if self.mapping else None,
            not_in_effect=self.effect.views(),
            template=launcher.template.view() if launcher.template else None,
            used_by=launcher.used_by,
            tags=launcher.tags,
            steps=self.steps,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides in one target."""

    target: Target
    ownership: Ownership
    now: datetime
    # The mappings in effect, at least those for the tags of its launchers; those that can't be read are `damaged`.
    published: Mapping[MappingKey, PublishedMapping]
    # An instance profile's ARN, by its name as a launcher has it; None if there is none.
    profile_arn: Callable[[str], str | None]
    damaged: Mapping[MappingKey, AwsRefusalError] = field(default_factory=dict)
    # The tag keys of all mappings; a tag of unknown value doesn't matter unless it is one of them.
    mapped: frozenset[str] = frozenset()
    options: str = ""  # what a command of the AWS CLI needs in this target
    # The rows for tags, of which edits may not be in effect; why they aren't known; and a mapping as of this target.
    rows: Callable[[Sequence[MappingKey]], Sequence[Row]] = lambda _: ()
    unknown: str = ""
    there: Callable[[PublishedMapping], PublishedMapping] = lambda mapping: mapping


def forecast(launcher: Launcher, rules: Rules) -> Forecast:
    found = partial(Forecast, launcher=launcher, target=rules.target)
    carries = rules.profile_arn(launcher.profile) if launcher.profile else ""
    if launcher.broken:
        return found(verdict=Verdict.BLOCKED, code="broken", reason=launcher.broken)
    if why := _unknown(launcher, rules):
        return found(verdict=Verdict.UNKNOWN, code="not-known", reason=why)
    if carries is None:
        why = f"there is no instance profile {launcher.profile_name}, so EC2 refuses the launch"
        return found(verdict=Verdict.BLOCKED, code="profile-missing", reason=why)
    keys = mapping_keys(launcher.tags)
    if error := next((rules.damaged[each] for each in keys if each in rules.damaged), None):
        return found(verdict=Verdict.BLOCKED, code="damaged", reason=error.message)
    seen = _launched(
        launcher, carries, rules, published=[rules.published[each] for each in keys if each in rules.published]
    )
    decision, service = seen.decision, launcher.operator or launcher.service or node_of(seen.instance, carries)
    verdict = _verdict(seen, service)
    known = found(
        launcher=replace(launcher, service=service),
        verdict=verdict,
        code=decision.code,
        reason="; ".join(_reasons(verdict, seen, service, unknown=rules.unknown)),
        carries=carries,
        # Where a foreign role stays: the one that the tags ask for.
        should_carry=decision.profile_arn if verdict is Verdict.OCCUPIED else seen.should_carry,
        mapping=decision.mapping,
        effect=seen.effect,
    )
    return replace(known, steps=tuple(steps(known, rules.options)))


def _unknown(launcher: Launcher, rules: Rules) -> str:
    if launcher.unclear:
        return launcher.unclear
    if keys := sorted(launcher.unknown_tags & rules.mapped):
        return f"the value of tag {keys[0]} isn't known before it is deployed, and mappings ask for that tag"
    return "its instance profile isn't known before it is deployed" if launcher.profile is None else ""


def _launched(launcher: Launcher, profile_arn: str, rules: Rules, *, published: Sequence[PublishedMapping]) -> Seen:
    """One of its instances when it first runs: nothing is remembered of it, and no pin can name it."""
    key = InstanceKey(rules.target.account, rules.target.region, "")
    instance = Instance(key, InstanceState.RUNNING, launcher.tags, managed_by=launcher.operator)
    observed = Observation(
        key=key,
        asked_at=rules.now,
        instance=instance,
        association=Association("", "", profile_arn, state=AssociationState.ASSOCIATED) if profile_arn else None,
        record=InstanceRecord(),
        control=Control(mode=Mode.ENFORCE),
        candidates=resolve(instance, published, rules.now),
        published=tuple(published),
    )
    # Nothing of it can be contested yet, and what operators withhold now they may not withhold then.
    decision = asked_for(observed, rules.ownership)
    effect = of_instance(observed, decision, rules.rows(mapping_keys(launcher.tags)), there=rules.there)
    return Seen(instance, observed, decision, managed=rules.ownership.manages(profile_arn), effect=effect)


# ---- the verdict, and why ----

_BY_CODE = {
    "converged": Verdict.BORN_RIGHT,
    "occupied": Verdict.OCCUPIED,
    "unmatched": Verdict.NO_MAPPING,
    "not-ours": Verdict.NO_MAPPING,
    "unexplained": Verdict.NO_MAPPING,
    "ignored": Verdict.LEFT_ALONE,
    "service-managed": Verdict.LEFT_ALONE,
}
_BY_ACTION = {Action.ATTACH: Verdict.LATE, Action.REPLACE: Verdict.REPLACED, Action.DETACH: Verdict.REPLACED}


def _verdict(seen: Seen, service: str) -> Verdict:
    decision = seen.decision
    found = _BY_ACTION.get(decision.action) or _BY_CODE.get(decision.code, Verdict.BLOCKED)
    # A node whose tags a mapping meets keeps its foreign role; one that the mapping would change is told as such.
    if service and found in {Verdict.OCCUPIED, Verdict.NO_MAPPING}:
        return Verdict.LEFT_ALONE
    return Verdict.BLOCKED if found is Verdict.NO_MAPPING and seen.effect.edits else found


def _reasons(verdict: Verdict, seen: Seen, service: str, *, unknown: str) -> Iterator[str]:
    yield _reason(verdict, seen, service)
    if service and seen.decision.action.mutates:
        yield advice_for(service)
    governed = seen.decision.mapping is not None
    yield from (str(each) for each in seen.effect.missing if each.mapping and (each.is_edit or not governed))
    if unknown and verdict is Verdict.NO_MAPPING:
        yield unknown


def _reason(verdict: Verdict, seen: Seen, service: str) -> str:
    decision, carries = seen.decision, profile_name(seen.carries)
    wanted = "no role" if decision.role == NO_ROLE else f"role {decision.role}"
    match verdict:
        case Verdict.BORN_RIGHT:
            return f"instances start with {wanted}, as {decision.mapping} asks"
        case Verdict.LATE:
            return f"{decision.mapping} gives {wanted} after the launch: boot scripts start without credentials"
        case Verdict.REPLACED:
            foreign = "" if seen.managed else "the foreign "
            then = f"{decision.mapping} gives {wanted} later: software may keep the former for hours"
            return f"instances start with {foreign}{carries}, and {then}"
        case Verdict.OCCUPIED:
            return f"instances keep the foreign {carries}, and don't get {wanted}, which {decision.mapping} gives"
        case Verdict.LEFT_ALONE if service and decision.code != "ignored":
            asks = f"; {decision.mapping} asks for {wanted}, which they don't get" if decision.mapping else ""
            return f"{service} manages the instances, and their role with them{asks}"
        case Verdict.NO_MAPPING if seen.carries:
            stays = "which no mapping gives them" if seen.managed else "which is foreign"
            return f"no mapping for the tags; instances keep {carries}, {stays}"
    return seen.because


# ---- what to do ----

NEEDS = "who launches it needs iam:PassRole for the role"
# An instance goes into service when its boot script says so; one that never gets the role is ended.
_HOOK = (
    "aws autoscaling put-lifecycle-hook --lifecycle-hook-name wait-for-role --lifecycle-transition "
    "autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 600 --default-result ABANDON --auto-scaling-group-name "
)
_HOLDS = (
    "the other way: instances go into service once their boot script says so; one without a role after 10 minutes is "
    "ended"
)
BOOT_SCRIPT = "rolekeeper launches boot-script"


def steps(found: Forecast, options: str) -> Iterator[StepView]:
    """What makes its instances start with the right role, or wait for it; `options` are the AWS CLI's in its target."""
    launcher, role = found.launcher, profile_name(found.should_carry)
    if not found.starts_wrong:
        return
    if launcher.template and launcher.template.id and role:
        yield from _new_version(launcher, launcher.template, found.should_carry, options=options)
    if launcher.kind is Kind.GROUP and launcher.id and found.verdict is Verdict.LATE:
        name = quote(launcher.name)
        yield StepView(command=f"{_HOOK}{name}{options}", does=_HOLDS)
        yield StepView(
            command=BOOT_SCRIPT, does="prints the boot script for the user data, which waits for the role and says so"
        )


def _new_version(launcher: Launcher, template: Template, profile_arn: str, *, options: str) -> Iterator[StepView]:
    at, role = f"--launch-template-id {template.id}", profile_name(profile_arn)
    data = {"IamInstanceProfile": {template.member: profile_arn if template.member == "Arn" else role}}
    value = quote(json.dumps(data, separators=(",", ":")))
    # Where others launch from the template too, a group is given the new version alone.
    others = several(launcher.beside or launcher.used_by)
    shared = template.asked == "$Default" and launcher.kind is Kind.GROUP and bool(launcher.beside)
    alone = shared or template.asked not in {"$Default", "$Latest"}
    also = f"; {others} may use it too, so look at that first" if others and not alone else ""
    stack = launcher.tags.get("aws:cloudformation:stack-name", "")
    also += f"; stack {stack} declares {launcher.name}, so change it there" if stack else ""
    then = "; then name it in the group's mixed instances policy" if alone and launcher.mixed else ""
    yield StepView(
        command=f"aws ec2 create-launch-template-version {at} --source-version {template.number} "
        f"--launch-template-data {value}{options}",
        does=f"makes a version whose instances start with {role}{also}{then}; {NEEDS}",
    )
    newest = (
        f"\"$(aws ec2 describe-launch-template-versions {at} --versions '$Latest' --query "
        f"'LaunchTemplateVersions[0].VersionNumber' --output text{options})\""
    )
    if template.asked == "$Default" and not alone:
        text = f"aws ec2 modify-launch-template {at} --default-version {newest}{options}"
        yield StepView(command=text, does="makes it the default version")
    elif alone and launcher.kind is Kind.GROUP and not launcher.mixed:
        text = "aws autoscaling update-auto-scaling-group --auto-scaling-group-name"
        version = f"--launch-template LaunchTemplateId={template.id},Version={newest}"
        command = f"{text} {quote(launcher.name)} {version}{options}"
        yield StepView(command=command, does="has the group use it, and no other one")
