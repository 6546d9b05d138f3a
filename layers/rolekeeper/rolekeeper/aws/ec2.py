"""EC2 as the reconciler needs it: two reads per batch, and the three mutations. Errors come classified."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import batched, groupby
from typing import TYPE_CHECKING, Any, Protocol

from rolekeeper.aws.errors import AccessDeniedError, ConflictError, RetryableError, classified
from rolekeeper.model.instance import ENDED, Association, AssociationState, Instance, InstanceKey, InstanceState
from rolekeeper.model.mapping import MappingKey

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client

FILTER_VALUES = 200  # at most, per filter (AWS_FACTS.md "Attach, replace, detach")
FILTER_VALUE = 255  # characters; a tag's value has up to 256 (AWS_FACTS.md "Limits and names")
AT_ONCE = 16  # the most targets that are asked at once
# How often a task of several runs may begin again because EC2 no longer takes its token.
RESTARTS = 3
# EC2's filters read these as patterns: what holds one, or is too long, is compared in `tagged` instead.
_WILDCARDS = frozenset("*?\\")


@dataclass(frozen=True)
class Ec2:
    """The calls to EC2 in one account and Region."""

    client: "EC2Client"
    account: str
    region: str

    def associations(self, instance_ids: Sequence[str]) -> dict[str, Association]:
        """Read the present association of each instance that has one, by instance id."""
        found: dict[str, Association] = {}
        # Unknown ids are no error in a filter. No ids make no call: EC2 refuses an empty one (AWS_FACTS.md "Errors").
        for ids in batched(instance_ids, FILTER_VALUES):
            with classified("ec2:DescribeIamInstanceProfileAssociations", "*"):
                paginator = self.client.get_paginator("describe_iam_instance_profile_associations")
                pages = list(paginator.paginate(Filters=[{"Name": "instance-id", "Values": list(ids)}]))
            for association in (_association(row) for page in pages for row in page["IamInstanceProfileAssociations"]):
                # EC2 may list former associations too: an ended one doesn't count, an ending one only if it is alone.
                ending = association.state is AssociationState.DISASSOCIATING and association.instance_id in found
                if association.state is not AssociationState.DISASSOCIATED and not ending:
                    found[association.instance_id] = association
        return found

    def instances(self, instance_ids: Sequence[str]) -> dict[str, Instance]:
        """Read the instances that EC2 knows, by id."""
        found: dict[str, Instance] = {}
        for ids in batched(instance_ids, FILTER_VALUES):
            for page, _ in self.pages({"Name": "instance-id", "Values": list(ids)}):
                found |= {instance.key.id: instance for instance in page}
        return found

    def tagged(self, *keys: MappingKey) -> Iterator[list[Instance]]:
        """Yield pages of the instances that carry a tag of these mappings and haven't ended."""
        for tag_key, group in groupby(sorted(keys), key=lambda key: key.tag_key):
            wanted = list(group)
            for filters in _tag_filters(tag_key, [key.tag_value for key in wanted]):
                for page in self.fleet(*filters, _NOT_ENDED):
                    yield [instance for instance in page if any(key.matches(instance.tags) for key in wanted)]

    def carrying(self, profile_arns: Sequence[str]) -> Iterator[list[Instance]]:
        """Yield pages of the instances that carry one of these profiles and haven't ended; perhaps others too."""
        whole = any(len(arn) > FILTER_VALUE for arn in profile_arns)
        for arns in [()] if whole else batched(profile_arns, FILTER_VALUES):
            wanted = [{"Name": "iam-instance-profile.arn", "Values": list(arns)}] if arns else []
            yield from self.fleet(*wanted, _NOT_ENDED)

    def tagged_pages(self, key: MappingKey, token: str = "") -> Iterator[tuple[list[Instance], str]]:
        """Yield the same of one mapping, from a token on, each with the next page's token; see `pages`."""
        (filters,) = _tag_filters(key.tag_key, [key.tag_value])
        for page, following in self.pages(*filters, _NOT_ENDED, token=token):
            yield [instance for instance in page if key.matches(instance.tags)], following

    def fleet(self, *filters: dict[str, Any]) -> Iterator[list[Instance]]:
        """Yield pages of at most 200 instances; EC2 shows a terminated one usually for less than an hour."""
        return (page for page, _ in self.pages(*filters))

    def pages(self, *filters: dict[str, Any], token: str = "", size: int = 0) -> Iterator[tuple[list[Instance], str]]:
        """Yield the same from a token on, each with the next page's token, empty after the last; or StaleTokenError."""
        # An unpaginated call has a token bucket of half the size (AWS_FACTS.md "Throttles").
        asked: dict[str, Any] = {"Filters": list(filters), "MaxResults": size or FILTER_VALUES}
        # EC2 may hide instances that an AWS service manages, and they would look as if they were gone. The command's
        # SDK may be too old to ask for them (AWS_FACTS.md "Managed instances").
        known = self.client.meta.service_model.operation_model("DescribeInstances").input_shape
        if known and "IncludeManagedResources" in known.members:
            asked["IncludeManagedResources"] = True
        if token:
            asked["NextToken"] = token
        while True:
            with classified("ec2:DescribeInstances", "*"):
                # Not the SDK's paginator: it doesn't show the tokens.
                answer = self.client.describe_instances(**asked)
            following = answer.get("NextToken") or ""
            if following and following == asked.get("NextToken"):
                raise RetryableError(
                    "TokenRepeated", "the next page is this one", "ec2:DescribeInstances", resource="*"
                )
            yield [self._instance(row) for group in answer["Reservations"] for row in group["Instances"]], following
            if not following:
                return
            asked["NextToken"] = following

    def associate(self, instance: InstanceKey, profile_arn: str) -> Association:
        """Attach a profile to a running or stopped instance that has none."""
        with classified("ec2:AssociateIamInstanceProfile", instance.arn):
            profile: Any = {"Arn": profile_arn}
            answer = self.client.associate_iam_instance_profile(InstanceId=instance.id, IamInstanceProfile=profile)
            return _changed(answer)

    def replace(self, instance: InstanceKey, association_id: str, profile_arn: str) -> Association:
        """Replace the profile of a running instance by the id of its association; the answer has a new id."""
        with self._changing("ec2:ReplaceIamInstanceProfileAssociation", instance, association_id):
            answer = self.client.replace_iam_instance_profile_association(
                AssociationId=association_id, IamInstanceProfile={"Arn": profile_arn}
            )
            return _changed(answer)

    def disassociate(self, instance: InstanceKey, association_id: str) -> Association:
        """Detach the profile of a running or stopped instance by the id of its association."""
        with self._changing("ec2:DisassociateIamInstanceProfile", instance, association_id):
            return _changed(self.client.disassociate_iam_instance_profile(AssociationId=association_id))

    @contextmanager
    def _changing(self, action: str, instance: InstanceKey, association_id: str) -> Iterator[None]:
        """Classify the errors of a call that names an association: a denied one may be a ConflictError."""
        try:
            with classified(action, instance.arn):
                yield
        except AccessDeniedError as error:
            # An association that is gone has no profile, so a policy that asks for the profile's path may deny the call
            # (AWS_FACTS.md "Errors"). No permission is missing then.
            present = self.associations([instance.id]).get(instance.id)
            if present and present.id == association_id:
                raise
            gone = f"the association {association_id} isn't the present one; AWS answered {error.code}"
            raise ConflictError("StaleAssociation", gone, error.action, resource=error.resource) from error

    def _instance(self, row: Any) -> Instance:
        operator = row.get("Operator", {})
        return Instance(
            key=InstanceKey(self.account, self.region, row["InstanceId"]),
            state=InstanceState(row["State"]["Name"]),
            tags={tag["Key"]: tag["Value"] for tag in row.get("Tags", ())},
            # The name of its principal.
            managed_by=str(operator.get("Principal") or "an AWS service") if operator.get("Managed") else "",
            # Of the last start (EC2 API reference, "Instance").
            started=row.get("LaunchTime"),
        )


def _tag_filters(tag_key: str, values: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Return filters, each for a call of its own, that together find every instance with one of these values."""
    if _WILDCARDS & set(tag_key):
        yield []
    elif any(_WILDCARDS & set(value) or len(value) > FILTER_VALUE for value in values):
        yield [{"Name": "tag-key", "Values": [tag_key]}]
    else:
        for some in batched(values, FILTER_VALUES):
            yield [{"Name": f"tag:{tag_key}", "Values": list(some)}]


_NOT_ENDED = {"Name": "instance-state-name", "Values": [state.value for state in InstanceState if state not in ENDED]}


def _changed(answer: Any) -> Association:
    retries = answer.get("ResponseMetadata", {}).get("RetryAttempts", 0)
    return replace(_association(answer["IamInstanceProfileAssociation"]), retries=retries)


def _association(row: Any) -> Association:
    profile, state = row["IamInstanceProfile"], AssociationState(row["State"])
    return Association(
        row["AssociationId"], row["InstanceId"], profile["Arn"], state=state, profile_id=profile.get("Id", "")
    )


# ---- several targets at once ----


class MapConcurrently(Protocol):
    """Does the same work on several items, each result in its item's place; what is raised for one is raised."""

    def __call__[Item, Result](self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]: ...


def one_by_one[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def in_threads[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Work on a few items at once; make no thread for a single one."""
    if len(items) <= 1:
        return one_by_one(work, items)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # most invocations make no thread

    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(work, items))
