"""What EC2 really does with instances, tags and profiles where emulators don't. AWS_FACTS.md is the source.

Pure: no I/O, the clock and the ids are given, so the same calls at the same times always answer the same. Time passes
lazily: each call first lets everything happen whose time has come (``tick``). Events go to ``emit`` in order. The
embedded AWS, the fake client of the unit tests and simulations all use this one.
"""

from collections.abc import Callable, Iterable, Mapping

from rolekeeper_local import ec2_filters
from rolekeeper_local.ec2_associations import Associations
from rolekeeper_local.ec2_filters import Filters
from rolekeeper_local.ec2_model import Association, Ec2Error, Event, Instance, Profile, State, Timings

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
        "tag-key",
        "tag-value",
    }
)


class Ec2Truth:
    """The instances of one account and Region, their tags, profiles and associations.

    Args:
        now: The clock, in seconds; it never runs backwards.
        new_id: Given ``i`` or ``iip-assoc``, makes the next id, e.g. ``i-0123456789abcdef0``; never one twice.
        find_profile: Finds an instance profile by name or ARN, or None.
        emit: Takes each event, in order, amid the call that causes it: it keeps it and calls nothing here.
        timings: How long things take.
        arn_prefix: What stands before an instance's id in its ARN.
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
        self._emit = emit
        self._arn_prefix = arn_prefix
        self._instances: dict[str, Instance] = {}
        # Those in a state that ends by itself: a tick looks at no other, so it costs the same in a fleet of any size.
        self._passing: dict[str, Instance] = {}
        self._shown_no_more: set[str] = set()
        self._launches = 0
        self._drops: dict[str, int] = {}
        self._associations = Associations(
            now=now,
            new_id=lambda: new_id("iip-assoc"),
            timings=self.timings,
            instance=self.instance,
            find_profile=find_profile,
        )

    # ---- time ----

    def tick(self) -> None:
        """Let everything happen whose time has come: oldest first, so that events keep their order."""
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
                    self._associations.instance_terminated(instance.id)
                    self._enter(instance, State.TERMINATED, self.timings.terminated_visible)
                case _:
                    del self._instances[instance.id], self._passing[instance.id]
                    self._shown_no_more.add(instance.id)
        self._associations.tick()

    def drop_events(self, instance_id: str, count: int = 1) -> None:
        """Lose the next events of an instance, as EventBridge may (AWS_FACTS.md, Events: best effort)."""
        self._drops[instance_id] = self._drops.get(instance_id, 0) + count

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

        Args:
            tags: Tags given at launch; they make a tag event too (AWS_FACTS.md, Events).
            profile: Name or ARN of an instance profile given at launch: an association that nobody else made.
            instance_id: An id made elsewhere, e.g. by the emulator.
            attributes: Further things that filters may ask for.
            operator: The principal of the AWS service that manages it, and
            hidden: whether the account hides such instances (AWS_FACTS.md, Managed instances).

        Raises:
            Ec2Error: For a profile that EC2 does not accept.
        """
        self.tick()
        found = self._associations.usable_profile(profile) if profile else None
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
            self._associations.attach_at_launch(identity, found)
        self._enter(instance, State.PENDING, self.timings.pending)
        if tags:
            self._set_tags(instance, dict(tags), changed=list(tags))
        return instance

    def start(self, instance_id: str) -> tuple[State, State]:
        """Start a stopped instance (StartInstances).

        Returns:
            The state before and after; the same twice if it was pending or running already.

        Raises:
            Ec2Error: ``IncorrectInstanceState`` while stopping or on its way out.
        """
        instance = self._ticked(instance_id)
        before = instance.state
        if before is State.STOPPED:
            self._enter(instance, State.PENDING, self.timings.pending)
        elif before not in (State.PENDING, State.RUNNING):
            raise Ec2Error(
                "IncorrectInstanceState",
                f"The instance '{instance_id}' is not in a state from which it can be started.",
            )
        return before, instance.state

    def stop(self, instance_id: str) -> tuple[State, State]:
        """Stop a running instance (StopInstances).

        Returns:
            The state before and after; the same twice if it was stopping or stopped already.

        Raises:
            Ec2Error: ``IncorrectInstanceState`` while pending or on its way out.
        """
        instance = self._ticked(instance_id)
        before = instance.state
        if before is State.RUNNING:
            self._enter(instance, State.STOPPING, self.timings.stopping)
        elif before not in (State.STOPPING, State.STOPPED):
            raise Ec2Error(
                "IncorrectInstanceState",
                f"The instance '{instance_id}' is not in a state from which it can be stopped.",
            )
        return before, instance.state

    def terminate(self, instance_id: str) -> tuple[State, State]:
        """Terminate an instance in any state (TerminateInstances); return the state before and after."""
        instance = self._ticked(instance_id)
        before = instance.state
        if before not in (State.SHUTTING_DOWN, State.TERMINATED):
            self._enter(instance, State.SHUTTING_DOWN, self.timings.shutting_down)
        return before, instance.state

    def instance(self, instance_id: str) -> Instance:
        """Return an instance as it is after the last tick.

        Raises:
            Ec2Error: ``InvalidInstanceID.NotFound`` (AWS_FACTS.md, Errors).
        """
        try:
            return self._instances[instance_id]
        except KeyError:
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist") from None

    def knows(self, instance_id: str) -> bool:
        """Say whether an instance is there, in any state."""
        return instance_id in self._instances

    def forgot(self, instance_id: str) -> bool:
        """Say whether an instance was there and, long terminated, is shown no more."""
        return instance_id in self._shown_no_more

    def usable_profile(self, reference: str) -> Profile:
        """Find a profile that EC2 would accept now; see ``Associations.usable_profile``."""
        return self._associations.usable_profile(reference)

    def describe_instances(
        self,
        *,
        instance_ids: Iterable[str] = (),
        filters: Filters = (),
        max_results: int | None = None,
        next_token: str | None = None,
        managed_too: bool = False,
    ) -> tuple[list[Instance], str | None]:
        """List a page of instances, oldest first, and the token of the next page (None after the last).

        Hidden ones are listed only if `managed_too` (``IncludeManagedResources``) says so.

        Raises:
            Ec2Error: ``InvalidInstanceID.NotFound`` for an unknown id (a filter on ``instance-id`` finds nothing
                instead), ``InvalidParameterValue`` for a bad filter, ``InvalidParameterCombination`` for ids with
                a page size.
        """
        self.tick()
        ec2_filters.check(filters, lambda name: name in _INSTANCE_FILTERS or name.startswith("tag:"))
        wanted = list(dict.fromkeys(instance_ids))
        if wanted and max_results is not None:
            raise Ec2Error(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
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
        """Set tags (CreateTags). Setting what is already so makes no event."""
        instance = self._ticked(instance_id)
        changed = [key for key, value in tags.items() if instance.tags.get(key) != value]
        if changed:
            self._set_tags(instance, {**instance.tags, **tags}, changed)

    def delete_tags(self, instance_id: str, tags: Mapping[str, str | None] | None = None) -> None:
        """Remove tags (DeleteTags): those of the given keys (and values, where not None), or all of them."""
        instance = self._ticked(instance_id)
        wanted = dict.fromkeys(instance.tags) if tags is None else tags
        changed = [key for key, value in wanted.items() if key in instance.tags and value in (None, instance.tags[key])]
        if changed:
            self._set_tags(instance, {k: v for k, v in instance.tags.items() if k not in changed}, changed)

    # ---- associations ----

    def associate(self, instance_id: str, profile: str) -> Association:
        """AssociateIamInstanceProfile with a profile's name or ARN; see ``Associations.associate``."""
        self.tick()
        return self._associations.associate(instance_id, profile)

    def replace(self, association_id: str, profile: str) -> Association:
        """ReplaceIamInstanceProfileAssociation; see ``Associations.replace``."""
        self.tick()
        return self._associations.replace(association_id, profile)

    def disassociate(self, association_id: str) -> Association:
        """DisassociateIamInstanceProfile; see ``Associations.disassociate``."""
        self.tick()
        return self._associations.disassociate(association_id)

    def describe_associations(
        self,
        *,
        association_ids: Iterable[str] = (),
        filters: Filters = (),
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> tuple[list[Association], str | None]:
        """DescribeIamInstanceProfileAssociations; see ``Associations.describe``."""
        self.tick()
        return self._associations.describe(
            association_ids=association_ids, filters=filters, max_results=max_results, next_token=next_token
        )

    def association_of(self, instance_id: str) -> Association | None:
        """Return the association that an instance has after the last tick, or None."""
        return self._associations.of(instance_id)

    # ---- inside ----

    def _ticked(self, instance_id: str) -> Instance:
        self.tick()
        return self.instance(instance_id)

    def _attributes(self, instance: Instance) -> dict[str, str]:
        row = self._associations.of(instance.id)
        profile = (
            {"iam-instance-profile.arn": row.profile_arn, "iam-instance-profile.id": row.profile_id} if row else {}
        )
        return {
            **instance.attributes,
            **profile,
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
        self._tell(
            instance,
            Event(
                source="aws.ec2",
                detail_type="EC2 Instance State-change Notification",
                resources=(instance.arn,),
                detail={"instance-id": instance.id, "state": str(state)},
            ),
        )

    def _set_tags(self, instance: Instance, tags: dict[str, str], changed: list[str]) -> None:
        instance.tags = tags
        instance.tag_version += 1
        # AWS_FACTS.md, Events: the whole set after the change; `version` may arrive as a float, so here it does.
        self._tell(
            instance,
            Event(
                source="aws.tag",
                detail_type="Tag Change on Resource",
                resources=(instance.arn,),
                detail={
                    "changed-tag-keys": changed,
                    "service": "ec2",
                    "resource-type": "instance",
                    "version": float(instance.tag_version),
                    "tags": dict(tags),
                },
            ),
        )

    def _tell(self, instance: Instance, event: Event) -> None:
        left = self._drops.get(instance.id, 0)
        if left:
            self._drops[instance.id] = left - 1
        else:
            self._emit(event)
