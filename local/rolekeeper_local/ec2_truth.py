"""EC2's instances, tags, profiles and associations as AWS_FACTS.md has them, where emulators differ.

Pure: no I/O, and clock and ids are given, so the same calls at the same times have the same answers. Time passes
lazily: each call first does everything that is due (``tick``). Events go to ``emit`` in order. The embedded AWS, the
unit tests' fake client and the simulation use it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from rolekeeper_local import ec2_filters
from rolekeeper_local.ec2_filters import Filters
from rolekeeper_local.ec2_model import Association, AssociationState, Ec2Error, Event, Instance, Profile, State, Timings

_INSTANCE_FILTERS = frozenset(
    {
        "instance-id",
        "instance-state-name",
        "instance-state-code",
        "iam-instance-profile.arn",
        "iam-instance-profile.id",
        "instance-type",
        "image-id",
        "vpc-id",
        "subnet-id",
        "availability-zone",
        "client-token",
        "tag-key",
        "tag-value",
    }
)
_ASSOCIATION_FILTERS = frozenset({"association-id", "instance-id", "state"})


class Ec2Truth:
    """The instances of one account and Region, their tags and associations.

    Args:
        now: The clock, in seconds; it never runs backwards.
        new_id: Given ``i`` or ``iip-assoc``, makes the next id, e.g. ``i-0123456789abcdef0``.
        find_profile: Finds an instance profile by name or ARN.
        emit: Takes each event, in order, within the call that causes it; it must not call this object.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator, given by name
        self,
        *,
        now: Callable[[], float],
        new_id: Callable[[str], str],
        find_profile: Callable[[str], Profile | None],
        emit: Callable[[Event], None],
        timings: Timings | None = None,
        arn_prefix: str = "arn:aws:ec2:us-east-1:000000000000:instance/",
    ) -> None:
        self.timings = timings or Timings()
        self._now = now
        self._new_id = new_id
        self._find_profile = find_profile
        self._emit = emit
        self._arn_prefix = arn_prefix
        self._instances: dict[str, Instance] = {}
        self._shown_no_more: set[str] = set()
        self._associations: dict[str, Association] = {}
        self._of_instance: dict[str, Association] = {}
        #: Ids that were replaced: known, dead (AWS_FACTS.md, Errors tells them from unknown ones).
        self._replaced: set[str] = set()
        # Those in a state that ends by itself: a tick looks at no other, so it costs the same in a fleet of any size.
        self._passing: dict[str, Instance] = {}
        self._passing_associations: dict[str, Association] = {}
        self._launches = self._associated = 0
        self._drops: Counter[str] = Counter()

    # ---- time ----

    def tick(self) -> None:
        """Do everything that is due, oldest first, so that events keep their order."""
        now = self._now()
        due = [i for i in self._passing.values() if i.changes_at is not None and i.changes_at <= now]
        for instance in sorted(due, key=lambda i: (i.changes_at, i.number)):
            instance.changes_at = None
            match instance.state:
                case State.PENDING:
                    self._enter(instance, State.RUNNING)
                case State.STOPPING:
                    self._enter(instance, State.STOPPED)
                case State.SHUTTING_DOWN:
                    if row := self.association_of(instance.id):
                        self._forget(row)
                    self._enter(instance, State.TERMINATED, self.timings.terminated_visible)
                case _:
                    del self._instances[instance.id], self._passing[instance.id]
                    self._shown_no_more.add(instance.id)
        passing = self._passing_associations.values()
        for row in [row for row in passing if row.changes_at is not None and row.changes_at <= now]:
            row.changes_at = None
            if row.state is AssociationState.ASSOCIATING:
                row.state = AssociationState.ASSOCIATED
                del self._passing_associations[row.id]
            else:
                # The describe call may show `disassociated` (AWS_FACTS.md), for how long no source says; here the
                # row goes at once, so that a second Disassociate finds nothing (the same page, Errors).
                self._forget(row)

    def drop_events(self, instance_id: str, count: int = 1) -> None:
        """Lose the next events of an instance, as EventBridge may (AWS_FACTS.md, Events: best effort)."""
        self._drops[instance_id] += count

    # ---- instances ----

    def launch(  # noqa: PLR0913  # what a launch may say
        self,
        *,
        tags: Mapping[str, str] | None = None,
        profile: str | None = None,
        instance_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
        operator: str = "",
        hidden: bool = False,
    ) -> Instance:
        """Launch one instance (RunInstances): pending, then running.

        `tags` cause a tag event too (AWS_FACTS.md, Events). A `profile` is associated, or causes an Ec2Error. The
        emulator gives its own `instance_id`. `operator` is the AWS service that manages the instance; the account may
        have such instances `hidden` (AWS_FACTS.md, Managed instances).
        """
        self.tick()
        found = self.usable_profile(profile) if profile else None
        identity = instance_id or self._new_id("i")
        self._launches += 1
        instance = Instance(
            id=identity,
            arn=self._arn_prefix + identity,
            number=self._launches,
            launched_at=self._now(),
            attributes=dict(attributes or {}),
            operator=operator,
            hidden=hidden,
        )
        self._instances[identity] = instance
        if found is not None:
            self._add_association(identity, found)
        self._enter(instance, State.PENDING, self.timings.pending)
        if tags:
            self._set_tags(instance, dict(tags), changed=list(tags))
        return instance

    def start(self, instance_id: str) -> tuple[State, State]:
        """StartInstances: the state before and after; the same twice if it was pending or running already."""
        instance = self._ticked(instance_id)
        before = instance.state
        if before is State.STOPPED:
            self._enter(instance, State.PENDING, self.timings.pending)
        elif before not in (State.PENDING, State.RUNNING):
            raise _wrong_state(instance_id, "started")
        return before, instance.state

    def stop(self, instance_id: str) -> tuple[State, State]:
        """StopInstances: the state before and after; the same twice if it was stopping or stopped already."""
        instance = self._ticked(instance_id)
        before = instance.state
        if before is State.RUNNING:
            self._enter(instance, State.STOPPING, self.timings.stopping)
        elif before not in (State.STOPPING, State.STOPPED):
            raise _wrong_state(instance_id, "stopped")
        return before, instance.state

    def terminate(self, instance_id: str) -> tuple[State, State]:
        """TerminateInstances, in any state: the state before and after."""
        instance = self._ticked(instance_id)
        before = instance.state
        if before not in (State.SHUTTING_DOWN, State.TERMINATED):
            self._enter(instance, State.SHUTTING_DOWN, self.timings.shutting_down)
        return before, instance.state

    def instance(self, instance_id: str) -> Instance:
        try:
            return self._instances[instance_id]
        except KeyError:
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist") from None

    def knows(self, instance_id: str) -> bool:
        return instance_id in self._instances

    def forgot(self, instance_id: str) -> bool:
        """Whether an instance was terminated long ago, and is no longer shown."""
        return instance_id in self._shown_no_more

    def describe_instances(
        self,
        *,
        instance_ids: Iterable[str] = (),
        filters: Filters = (),
        max_results: int | None = None,
        next_token: str | None = None,
        managed_too: bool = False,
    ) -> tuple[list[Instance], str | None]:
        """A page of instances, oldest first, and the token of the next page (None after the last).

        Hidden ones are in it only with `managed_too` (``IncludeManagedResources``). An unknown id is refused, while a
        filter on ``instance-id`` finds nothing.
        """
        self.tick()
        ec2_filters.check(filters, lambda name: name in _INSTANCE_FILTERS or name.startswith("tag:"))
        wanted = list(dict.fromkeys(instance_ids))
        if wanted and max_results is not None:
            text = "The parameter instancesSet cannot be used with the parameter maxResults"
            raise Ec2Error("InvalidParameterCombination", text)
        ids = ec2_filters.exactly(filters, "instance-id")
        found: Iterable[Instance] = self._instances.values()
        if wanted:
            found = [self.instance(one) for one in wanted]
        elif ids is not None:
            found = sorted((self._instances[one] for one in ids if one in self._instances), key=lambda i: i.number)
        passes, after = ec2_filters.passing(filters), ec2_filters.number_after(next_token)
        # One by one, so that a page of a large fleet costs little more than what it shows.
        rows = (
            one
            for one in found
            if one.number > after
            and (managed_too or not one.hidden)
            and (not filters or passes(self._attributes(one), one.tags))
        )
        return ec2_filters.page(rows, max_results, next_token)

    # ---- tags ----

    def create_tags(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """CreateTags; tags that are already set cause no event."""
        instance = self._ticked(instance_id)
        changed = [key for key, value in tags.items() if instance.tags.get(key) != value]
        if changed:
            self._set_tags(instance, {**instance.tags, **tags}, changed)

    def delete_tags(self, instance_id: str, tags: Mapping[str, str | None] | None = None) -> None:
        """DeleteTags of the given keys (and values, if not None), or of all tags."""
        instance = self._ticked(instance_id)
        wanted = dict.fromkeys(instance.tags) if tags is None else tags
        changed = [key for key, value in wanted.items() if key in instance.tags and value in (None, instance.tags[key])]
        if changed:
            self._set_tags(instance, {k: v for k, v in instance.tags.items() if k not in changed}, changed)

    # ---- associations: what each call refuses is in AWS_FACTS.md, Errors ----

    def associate(self, instance_id: str, profile: str) -> Association:
        """AssociateIamInstanceProfile, with a profile's name or ARN."""
        instance = self._ticked(instance_id)
        _require_running_or_stopped(instance)
        found = self.usable_profile(profile)
        if self.association_of(instance_id):
            raise Ec2Error("IncorrectState", f"There is an existing association for instance {instance_id}")
        return self._add_association(instance_id, found)

    def replace(self, association_id: str, profile: str) -> Association:
        """ReplaceIamInstanceProfileAssociation of a running instance: a new association id, the old one dead."""
        self.tick()
        row = self._associations.get(association_id)
        if row is None and association_id not in self._replaced:
            raise _unknown(association_id)
        if row is None or row.state is AssociationState.DISASSOCIATING:
            raise _not_active(association_id)
        instance = self.instance(row.instance_id)
        _require_running_or_stopped(instance)
        if instance.state is State.STOPPED:
            # AWS_FACTS.md, Errors: "the instance is stopped, or the id is stale".
            raise _not_active(association_id)
        found = self.usable_profile(profile)
        self._forget(row)
        self._replaced.add(row.id)
        return self._add_association(instance.id, found)

    def disassociate(self, association_id: str) -> Association:
        """DisassociateIamInstanceProfile: the same id, `disassociating`, then gone."""
        self.tick()
        row = self._associations.get(association_id)
        if row is None or row.state is AssociationState.DISASSOCIATING:
            raise _unknown(association_id)
        _require_running_or_stopped(self.instance(row.instance_id))
        row.state = AssociationState.DISASSOCIATING
        row.timestamp = self._now()
        row.changes_at = row.timestamp + self.timings.disassociating
        self._passing_associations[row.id] = row
        return row

    def describe_associations(
        self,
        *,
        association_ids: Iterable[str] = (),
        filters: Filters = (),
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> tuple[list[Association], str | None]:
        """A page of associations, oldest first, and the token of the next page; an unknown id is refused."""
        self.tick()
        ec2_filters.check(filters, _ASSOCIATION_FILTERS.__contains__)
        wanted = set(association_ids)
        # Not a difference with the keys: that would walk through all of them.
        for association_id in wanted:
            if association_id not in self._associations:
                raise _unknown(association_id)
        of_instances = ec2_filters.exactly(filters, "instance-id")
        known: Iterable[Association] = self._associations.values()
        if of_instances is not None:
            held = (self._of_instance[one] for one in of_instances if one in self._of_instance)
            known = sorted(held, key=lambda row: row.number)
        passes = ec2_filters.passing(filters)
        rows = [
            row
            for row in known
            if (not wanted or row.id in wanted)
            and passes({"association-id": row.id, "instance-id": row.instance_id, "state": row.state}, {})
        ]
        return ec2_filters.page(rows, max_results, next_token)

    def association_of(self, instance_id: str) -> Association | None:
        """The association of an instance, in any state."""
        return self._of_instance.get(instance_id)

    def carried(self) -> list[Association]:
        """The associations of running instances, once each is associated."""
        rows = (row for row in self._of_instance.values() if row.state is AssociationState.ASSOCIATED)
        return [row for row in rows if self._instances[row.instance_id].state is State.RUNNING]

    def usable_profile(self, reference: str) -> Profile:
        """Find a profile that EC2 accepts, by name or ARN: not one that is missing, too new or empty."""
        profile = self._find_profile(reference)
        if profile is None or self._now() < profile.created_at + self.timings.propagation:
            kind, noun = ("arn", "ARN") if reference.startswith("arn:") else ("name", "name")
            value = f"Value ({reference}) for parameter iamInstanceProfile.{kind} is invalid."
            raise Ec2Error("InvalidParameterValue", f"{value} Invalid IAM Instance Profile {noun}")
        if not profile.roles:
            raise Ec2Error("InvalidParameterValue", f'IAM Instance Profile "{profile.arn}" has no associated IAM Roles')
        return profile

    # ---- inside ----

    def _ticked(self, instance_id: str) -> Instance:
        self.tick()
        return self.instance(instance_id)

    def _attributes(self, instance: Instance) -> dict[str, str]:
        row = self.association_of(instance.id)
        profile = row and {"iam-instance-profile.arn": row.profile_arn, "iam-instance-profile.id": row.profile_id}
        return {
            **instance.attributes,
            **(profile or {}),
            "instance-id": instance.id,
            "instance-state-name": instance.state,
            "instance-state-code": str(instance.state.number),
        }

    def _enter(self, instance: Instance, state: State, seconds: float | None = None) -> None:
        instance.state = state
        instance.changes_at = None if seconds is None else self._now() + seconds
        if seconds is None:
            self._passing.pop(instance.id, None)
        else:
            self._passing[instance.id] = instance
        # AWS_FACTS.md, Events: "detail has instance-id and state only ...; resources[0] is the instance ARN".
        detail: dict[str, object] = {"instance-id": instance.id, "state": str(state)}
        self._tell(instance, "aws.ec2", "EC2 Instance State-change Notification", detail=detail)

    def _set_tags(self, instance: Instance, tags: dict[str, str], changed: list[str]) -> None:
        instance.tags = tags
        instance.tag_version += 1
        # AWS_FACTS.md, Events: the whole set after the change; `version` may arrive as a float, so here it does.
        detail: dict[str, object] = {
            "changed-tag-keys": changed,
            "service": "ec2",
            "resource-type": "instance",
            "version": float(instance.tag_version),
            "tags": dict(tags),
        }
        self._tell(instance, "aws.tag", "Tag Change on Resource", detail=detail)

    def _tell(self, instance: Instance, source: str, detail_type: str, detail: dict[str, object]) -> None:
        if self._drops[instance.id]:
            self._drops[instance.id] -= 1
        else:
            self._emit(Event(source, detail_type, resources=(instance.arn,), detail=detail))

    def _add_association(self, instance_id: str, profile: Profile) -> Association:
        now = self._now()
        self._associated += 1
        row = Association(
            id=self._new_id("iip-assoc"),
            instance_id=instance_id,
            profile_arn=profile.arn,
            profile_id=profile.id,
            state=AssociationState.ASSOCIATING,
            timestamp=now,
            number=self._associated,
            changes_at=now + self.timings.associating,
        )
        self._associations[row.id] = self._passing_associations[row.id] = self._of_instance[instance_id] = row
        return row

    def _forget(self, row: Association) -> None:
        del self._associations[row.id], self._of_instance[row.instance_id]
        self._passing_associations.pop(row.id, None)


def _require_running_or_stopped(instance: Instance) -> None:
    if instance.state not in (State.RUNNING, State.STOPPED):
        text = f"The instance '{instance.id}' is not in the 'running' or 'stopped' states."
        raise Ec2Error("IncorrectInstanceState", text)


def _wrong_state(instance_id: str, change: str) -> Ec2Error:
    text = f"The instance '{instance_id}' is not in a state from which it can be {change}."
    return Ec2Error("IncorrectInstanceState", text)


def _not_active(association_id: str) -> Ec2Error:
    return Ec2Error("IncorrectState", f"The association {association_id} is not the active association")


def _unknown(association_id: str) -> Ec2Error:
    return Ec2Error("InvalidAssociationID.NotFound", f"An invalid association-id of '{association_id}' was given")
