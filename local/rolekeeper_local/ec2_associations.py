"""The truth about associations: the four calls that emulators get wrong, by AWS_FACTS.md.

``Ec2Truth`` owns the instances and calls this; use it from there.
"""

from collections.abc import Callable, Iterable

from rolekeeper_local import ec2_filters
from rolekeeper_local.ec2_filters import Filters
from rolekeeper_local.ec2_model import Association, AssociationState, Ec2Error, Instance, Profile, State, Timings

_FILTERS = frozenset({"association-id", "instance-id", "state"})
#: An association that holds the instance: another Associate is refused while one of these is there.
_HOLDING = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED, AssociationState.DISASSOCIATING})


class Associations:
    """Every association of one account and Region.

    Args:
        now: The clock.
        new_id: Makes the next ``iip-assoc-…``; an id never comes twice.
        timings: How long associating, disassociating and propagation take.
        instance: Finds an instance, or raises ``InvalidInstanceID.NotFound``.
        find_profile: Finds a profile by name or ARN.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        new_id: Callable[[], str],
        timings: Timings,
        instance: Callable[[str], Instance],
        find_profile: Callable[[str], Profile | None],
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._timings = timings
        self._instance = instance
        self._find_profile = find_profile
        self._rows: dict[str, Association] = {}
        #: Those that are associating or disassociating: a tick looks at no other.
        self._passing: dict[str, Association] = {}
        self._of_instance: dict[str, str] = {}
        #: Ids that were replaced or let go: known, dead (AWS_FACTS.md, Errors tells them from unknown ones).
        self._replaced: set[str] = set()
        self._count = 0

    def tick(self) -> None:
        """Let every association whose time has come change state."""
        now = self._now()
        for row in [row for row in self._passing.values() if row.changes_at is not None and row.changes_at <= now]:
            row.changes_at = None
            if row.state is AssociationState.ASSOCIATING:
                row.state = AssociationState.ASSOCIATED
                del self._passing[row.id]
            else:
                # The describe call may show `disassociated` (AWS_FACTS.md), for how long no source says; here the
                # row goes at once, so that a second Disassociate finds nothing (the same page, Errors).
                self._forget(row)

    def of(self, instance_id: str) -> Association | None:
        """Return the association that the instance has now, in any state, or None."""
        association_id = self._of_instance.get(instance_id)
        return self._rows[association_id] if association_id else None

    def associate(self, instance_id: str, reference: str) -> Association:
        """Attach a profile, named or by ARN.

        Raises:
            Ec2Error: AWS_FACTS.md, Errors.
        """
        instance = self._instance(instance_id)
        _require_running_or_stopped(instance)
        profile = self.usable_profile(reference)
        row = self.of(instance_id)
        if row is not None and row.state in _HOLDING:
            raise Ec2Error("IncorrectState", f"There is an existing association for instance {instance_id}")
        return self._add(instance_id, profile)

    def attach_at_launch(self, instance_id: str, profile: Profile) -> Association:
        """Record the association of an instance that is launched with a profile."""
        return self._add(instance_id, profile)

    def replace(self, association_id: str, reference: str) -> Association:
        """Swap the profile of a running instance in one call: a new association id, the old one dead.

        Raises:
            Ec2Error: AWS_FACTS.md, Errors.
        """
        row = self._known(association_id, dead_is_unknown=False)
        if row is None or row.state is AssociationState.DISASSOCIATING:
            raise _not_active(association_id)
        instance = self._instance(row.instance_id)
        _require_running_or_stopped(instance)
        if instance.state is State.STOPPED:
            # AWS_FACTS.md, Errors: "the instance is stopped, or the id is stale".
            raise _not_active(association_id)
        profile = self.usable_profile(reference)
        self._forget(row, replaced=True)
        return self._add(instance.id, profile)

    def disassociate(self, association_id: str) -> Association:
        """Detach by id: the same id, `disassociating`, then gone.

        Raises:
            Ec2Error: AWS_FACTS.md, Errors.
        """
        row = self._known(association_id, dead_is_unknown=True)
        if row is None or row.state is AssociationState.DISASSOCIATING:
            raise _unknown(association_id)
        _require_running_or_stopped(self._instance(row.instance_id))
        row.state = AssociationState.DISASSOCIATING
        row.timestamp = self._now()
        row.changes_at = row.timestamp + self._timings.disassociating
        self._passing[row.id] = row
        return row

    def describe(
        self,
        *,
        association_ids: Iterable[str] = (),
        filters: Filters = (),
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> tuple[list[Association], str | None]:
        """List a page of associations, oldest first, and the token of the next page.

        Raises:
            Ec2Error: For a bad filter or token, or ``InvalidAssociationID.NotFound`` for an unknown id.
        """
        ec2_filters.check(filters, _FILTERS.__contains__)
        wanted = set(association_ids)
        # Not a difference with the keys: that would walk through all of them.
        for association_id in wanted:
            if association_id not in self._rows:
                raise _unknown(association_id)
        of_instances = ec2_filters.exactly(filters, "instance-id")
        known: Iterable[Association] = self._rows.values()
        if of_instances is not None:
            held = (self._of_instance[one] for one in of_instances if one in self._of_instance)
            known = sorted((self._rows[one] for one in held), key=lambda row: row.number)
        passes = ec2_filters.passing(filters)
        rows = [
            row
            for row in known
            if (not wanted or row.id in wanted)
            and passes({"association-id": row.id, "instance-id": row.instance_id, "state": row.state}, {})
        ]
        return ec2_filters.page(rows, max_results, next_token)

    def instance_terminated(self, instance_id: str) -> None:
        """Drop the association of an instance that is terminated."""
        row = self.of(instance_id)
        if row is not None:
            self._forget(row)

    def usable_profile(self, reference: str) -> Profile:
        """Find a profile that EC2 accepts.

        Args:
            reference: A name or an ARN.

        Raises:
            Ec2Error: ``InvalidParameterValue`` when it is missing, too new or empty (AWS_FACTS.md, Errors).
        """
        profile = self._find_profile(reference)
        if profile is None or self._now() < profile.created_at + self._timings.propagation:
            kind, noun = ("arn", "ARN") if reference.startswith("arn:") else ("name", "name")
            raise Ec2Error(
                "InvalidParameterValue",
                f"Value ({reference}) for parameter iamInstanceProfile.{kind} is invalid. "
                f"Invalid IAM Instance Profile {noun}",
            )
        if not profile.roles:
            raise Ec2Error("InvalidParameterValue", f'IAM Instance Profile "{profile.arn}" has no associated IAM Roles')
        return profile

    def _add(self, instance_id: str, profile: Profile) -> Association:
        now = self._now()
        self._count += 1
        row = Association(
            id=self._new_id(),
            instance_id=instance_id,
            profile_arn=profile.arn,
            profile_id=profile.id,
            state=AssociationState.ASSOCIATING,
            timestamp=now,
            number=self._count,
            changes_at=now + self._timings.associating,
        )
        self._rows[row.id] = self._passing[row.id] = row
        self._of_instance[instance_id] = row.id
        return row

    def _forget(self, row: Association, *, replaced: bool = False) -> None:
        del self._rows[row.id]
        self._passing.pop(row.id, None)
        del self._of_instance[row.instance_id]
        if replaced:
            self._replaced.add(row.id)

    def _known(self, association_id: str, *, dead_is_unknown: bool) -> Association | None:
        row = self._rows.get(association_id)
        if row is None and (dead_is_unknown or association_id not in self._replaced):
            raise _unknown(association_id)
        return row


def _require_running_or_stopped(instance: Instance) -> None:
    if instance.state not in (State.RUNNING, State.STOPPED):
        raise Ec2Error(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' or 'stopped' states."
        )


def _not_active(association_id: str) -> Ec2Error:
    return Ec2Error("IncorrectState", f"The association {association_id} is not the active association")


def _unknown(association_id: str) -> Ec2Error:
    return Ec2Error("InvalidAssociationID.NotFound", f"An invalid association-id of '{association_id}' was given")
