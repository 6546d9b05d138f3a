"""EC2's Query API: answered by ``Ec2Truth``, one per account and Region, and by ministack for the rest.

ministack keeps the other data of an instance (addresses, volumes), and gets state, tags and profile before it answers.
"""

import heapq
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ec2, eventbridge, iam

from rolekeeper_local import ec2_offers, ec2_tags, ec2_wire, launch_templates
from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_model import Ec2Error, Event, Instance, Profile, State, Timings
from rolekeeper_local.ec2_truth import Ec2Truth
from rolekeeper_local.ec2_wire import Params, Response

logger = logging.getLogger(__name__)

_STARTED_WALL, _STARTED = time.time(), time.monotonic()


def now() -> float:
    """Seconds since 1970, on a clock that never runs backwards."""
    return _STARTED_WALL + time.monotonic() - _STARTED


class Ec2Api:
    """The truth of every account and Region, behind EC2's wire format.

    Everything runs on the emulator's event loop, so nothing is locked. `soon` runs a function after the current request
    is answered; `arrivals` gives the seconds after which an event arrives, once for each time that it arrives.
    """

    def __init__(self, timings: Timings, soon: Callable[[Callable[[], None]], object]) -> None:
        self._timings = timings
        self._soon = soon
        self._truths: dict[tuple[str, str], Ec2Truth] = {}
        self._profiles_seen: dict[str, float] = {}
        self.arrivals: Callable[[], Sequence[float]] = lambda: (0.0,)
        #: A heap: when an event arrives, its number, and the event.
        self._events: list[tuple[float, int, tuple[str, str, Event]]] = []
        self._happened = 0
        #: By name: the calls that ministack doesn't answer.
        self.actions: dict[str, Callable[[Params], Response]] = {
            "RunInstances": self._run_instances,
            "StartInstances": lambda params: self._change_states(params, self.truth().start),
            "StopInstances": lambda params: self._change_states(params, self.truth().stop),
            "TerminateInstances": lambda params: self._change_states(params, self.truth().terminate),
            "DescribeInstances": self._describe_instances,
            "CreateTags": self._create_tags,
            "DeleteTags": self._delete_tags,
            "AssociateIamInstanceProfile": self._change_association,
            "ReplaceIamInstanceProfileAssociation": self._change_association,
            "DisassociateIamInstanceProfile": self._change_association,
            "DescribeIamInstanceProfileAssociations": self._describe_associations,
            "DescribeInstanceTypeOfferings": ec2_offers.describe,
            **launch_templates.CALLS,
        }

    def install(self) -> None:
        correct(self._handle_request, "handle_request", ec2)

    async def _handle_request(self, original: Callable[..., Awaitable[Response]], *request: Any) -> Response:
        _method, _path, _headers, body, query_params = request
        params = ec2_wire.params_of(body, query_params)
        if params.get("DryRun", "").lower() == "true":
            # ministack executes the call (AWS_FACTS.md, What the emulators forgive). IAM was asked before.
            return ec2_wire.refusal(
                Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set."), 412
            )
        action = self.actions.get(params.get("Action", ""))
        ec2._ensure_defaults_initialized()
        self.truth().tick()
        try:
            ec2_tags.check(params, lambda resource: [tag["Key"] for tag in ec2._tags.get(resource, [])])
            if action is not None:
                return action(params)
            self._show_all()
            return await original(*request)
        except Ec2Error as error:
            return ec2_wire.refusal(error)
        finally:
            self._soon(self.deliver)

    def tick(self) -> None:
        """Let time pass in every account and Region, and send the events to EventBridge."""
        for profile in iam._instance_profiles.to_dict().values():
            self._seen(profile)
        for (account, region), truth in self._truths.items():
            with request_scope(account, region):
                truth.tick()
                self._adopt(truth)
        self.deliver()

    def deliver(self) -> None:
        """Send the events that are due, oldest first, to the rules of the account's default bus."""
        while self._events and self._events[0][0] <= now():
            self._send(*heapq.heappop(self._events)[2])

    def _emit(self, account: str, region: str, event: Event) -> None:
        for wait in self.arrivals():
            self._happened += 1
            at = now() + wait if wait else 0.0
            heapq.heappush(self._events, (at, self._happened, (account, region, event)))

    def _send(self, account: str, region: str, event: Event) -> None:
        entry = {
            "Source": event.source,
            "DetailType": event.detail_type,
            "Resources": list(event.resources),
            "Detail": json.dumps(event.detail),
        }
        with request_scope(account, region):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    def truth(self) -> Ec2Truth:
        """The truth of the current request's account and Region."""
        account, region = get_account_id(), get_region()
        truth = self._truths.get((account, region))
        if truth is None:
            truth = self._truths[account, region] = Ec2Truth(
                now=now,
                new_id=lambda kind: f"{kind}-{ec2._new_instance_id().removeprefix('i-').lower()}",
                find_profile=self.find_profile,
                emit=lambda event: self._emit(account, region, event),
                timings=self._timings,
                arn_prefix=f"arn:aws:ec2:{region}:{account}:instance/",
            )
        return truth

    def truths(self) -> Mapping[tuple[str, str], Ec2Truth]:
        """The truths by account and Region."""
        return self._truths

    def truth_of(self, instance_id: str) -> Ec2Truth:
        """The truth that knows an instance, of whatever account and Region; an Ec2Error if none does."""
        truth = next((each for each in self._truths.values() if each.knows(instance_id)), None)
        if truth is None:
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return truth

    def find_profile(self, reference: str) -> Profile | None:
        by = {"arn": reference} if reference.startswith("arn:") else {"name": reference}
        row = iam._lookup_instance_profile(**by)
        if row is None:
            return None
        roles = (iam._roles.get(name) for name in row["Roles"])
        return Profile(
            name=row["InstanceProfileName"],
            arn=row["Arn"],
            id=row["InstanceProfileId"],
            roles=tuple(role["Arn"] for role in roles if role),
            created_at=self._seen(row),
        )

    def run(self, params: Params) -> list[Instance]:
        """Launch instances as RunInstances does; an Ec2Error if it is refused."""
        params, token = launch_templates.with_template(params), params.get("ClientToken", "")
        if token and (made := self._launched(token)):
            return made  # EC2 API reference, "Ensuring idempotency"
        if profile := ec2_wire.profile(params, required=False):
            self.truth().usable_profile(profile)
        # ministack launches MinCount; AWS launches as many as it can, up to MaxCount.
        count = max(params.get("MinCount", "1"), params.get("MaxCount", "1"), key=int)
        before = set(ec2._instances.keys())
        status, _headers, _body = ec2._run_instances({**params, "MinCount": count, "MaxCount": count})
        if status != 200:  # noqa: PLR2004 - HTTP's
            # Nothing else is left that ministack refuses.
            text = f"The image id '[{params.get('ImageId')}]' is not in a state from which you can launch an instance"
            raise Ec2Error("InvalidAMIID.Unavailable", text)
        self._adopt(self.truth())
        made = [self.truth().instance(one) for one in ec2._instances if one not in before]
        for one in made:
            # Only AWS services may name themselves here (EC2 API reference, OperatorRequest).
            one.operator = params.get("Operator.Principal", "")
            one.attributes["client-token"] = token
        return made

    def _launched(self, token: str) -> list[Instance]:
        return self.truth().describe_instances(filters=[("client-token", [token])])[0]

    # ---- the calls ----

    def _run_instances(self, params: Params) -> Response:
        made = self.run(params)
        items = "".join(self._instance_xml(one) for one in made)
        reservation = f"r-{made[0].id.removeprefix('i-')}"
        return ec2_wire.answer(
            "RunInstances",
            f"<instancesSet>{items}</instancesSet><reservationId>{reservation}</reservationId>"
            f"<ownerId>{get_account_id()}</ownerId><groupSet/>",
        )

    def _change_states(self, params: Params, change: Callable[[str], tuple[State, State]]) -> Response:
        items = ""
        for instance_id in self._known(ec2_wire.members(params, "InstanceId")):
            before, after = change(instance_id)
            items += (
                f"<item><instanceId>{instance_id}</instanceId>"
                f"<currentState><code>{after.number}</code><name>{after}</name></currentState>"
                f"<previousState><code>{before.number}</code><name>{before}</name></previousState></item>"
            )
        return ec2_wire.answer(params["Action"], f"<instancesSet>{items}</instancesSet>")

    def _describe_instances(self, params: Params) -> Response:
        ids = ec2_wire.members(params, "InstanceId")
        for instance_id in ids:
            if not ec2._INSTANCE_ID_RE.match(instance_id):
                raise Ec2Error("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
        managed_too = params.get("IncludeManagedResources", "").lower() == "true"
        rows, token = self.truth().describe_instances(
            instance_ids=ids, managed_too=managed_too, **ec2_wire.page(params)
        )
        items = "".join(
            f"<item><reservationId>r-{row.id.removeprefix('i-')}</reservationId><ownerId>{get_account_id()}</ownerId>"
            f"<groupSet/><instancesSet>{self._instance_xml(row)}</instancesSet></item>"
            for row in rows
        )
        return ec2_wire.answer(
            "DescribeInstances", f"<reservationSet>{items}</reservationSet>{ec2_wire.token_xml(token)}"
        )

    def _create_tags(self, params: Params) -> Response:
        tags = {key: value or "" for key, value in ec2_wire.tags(params).items()}
        for instance_id in self._known(one for one in ec2_wire.members(params, "ResourceId") if one.startswith("i-")):
            self.truth().create_tags(instance_id, tags)
        ec2._create_tags(params)
        return ec2_wire.answer("CreateTags", "<return>true</return>")

    def _delete_tags(self, params: Params) -> Response:
        tags = ec2_wire.tags(params) or None
        ids = ec2_wire.members(params, "ResourceId")
        instances = self._known(one for one in ids if one.startswith("i-"))
        for instance_id in instances:
            self.truth().delete_tags(instance_id, tags)
            self._show(self.truth().instance(instance_id))
        others = [one for one in ids if one not in instances]
        keep = {key: value for key, value in params.items() if not key.startswith("ResourceId.")}
        ec2._delete_tags({**keep, **{f"ResourceId.{n}": one for n, one in enumerate(others, 1)}})
        return ec2_wire.answer("DeleteTags", "<return>true</return>")

    def _change_association(self, params: Params) -> Response:
        truth, association_id = self.truth(), params.get("AssociationId", "")
        match params["Action"]:
            case "AssociateIamInstanceProfile":
                row = truth.associate(params.get("InstanceId", ""), ec2_wire.profile(params))
            case "ReplaceIamInstanceProfileAssociation":
                row = truth.replace(association_id, ec2_wire.profile(params))
            case _:
                row = truth.disassociate(association_id)
        return ec2_wire.answer(params["Action"], ec2_wire.association_xml(row, "iamInstanceProfileAssociation"))

    def _describe_associations(self, params: Params) -> Response:
        rows, token = self.truth().describe_associations(
            association_ids=ec2_wire.members(params, "AssociationId"), **ec2_wire.page(params)
        )
        items = "".join(ec2_wire.association_xml(row, "item") for row in rows)
        return ec2_wire.answer(
            "DescribeIamInstanceProfileAssociations",
            f"<iamInstanceProfileAssociationSet>{items}</iamInstanceProfileAssociationSet>{ec2_wire.token_xml(token)}",
        )

    def _known(self, instance_ids: Iterable[str]) -> list[str]:
        """The same ids, if all exist: a call on several changes all or nothing."""
        return [self.truth().instance(one).id for one in instance_ids]

    # ---- what ministack knows ----

    def _adopt(self, truth: Ec2Truth) -> None:
        """Take in the instances that ministack made: by RunInstances, a fleet or a stack."""
        for instance_id, record in list(ec2._instances.items()):
            if truth.knows(instance_id):
                continue
            if truth.forgot(instance_id):
                # ministack forgets by a clock of its own, later: taken in again, it would be a new instance.
                _delete_volumes(ec2._instances.pop(instance_id))
                ec2._tags.pop(instance_id, None)
                continue
            profile = (record.get("IamInstanceProfile") or {}).get("Arn")
            try:
                instance = truth.launch(
                    instance_id=instance_id,
                    tags={tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance_id, [])},
                    profile=profile,
                    attributes={
                        "instance-type": record["InstanceType"],
                        "image-id": record["ImageId"],
                        "vpc-id": record["VpcId"],
                        "subnet-id": record["SubnetId"],
                        "availability-zone": record["Placement"]["AvailabilityZone"],
                    },
                )
            except Ec2Error as error:
                # A stack may use a profile that it made a moment ago: the instance comes when EC2 knows the profile.
                logger.info("instance %s waits for its profile: %s", instance_id, error)
            else:
                self._show(instance)

    def _show_all(self) -> None:
        for instance in self.truth().describe_instances()[0]:
            self._show(instance)

    def _show(self, instance: Instance) -> None:
        record = ec2._instances.get(instance.id)
        if record is None:
            return
        record["State"] = {"Code": instance.state.number, "Name": str(instance.state)}
        # ministack forgets a terminated instance 60 s after this time; the truth decides that.
        record["_terminated_at"] = time.time()
        if instance.state is State.TERMINATED:
            _delete_volumes(record)
        row = self.truth().association_of(instance.id)
        record["IamInstanceProfile"] = {"Arn": row.profile_arn, "Id": row.profile_id} if row else None
        ec2._tags[instance.id] = [{"Key": key, "Value": value} for key, value in instance.tags.items()]

    def _instance_xml(self, instance: Instance) -> str:
        self._show(instance)
        record = ec2._instances.get(instance.id)
        shown = str(ec2._instance_xml(record)) if record else ""
        token = f"<clientToken>{escape(instance.attributes.get('client-token', ''))}</clientToken>"
        shown = shown.replace("</instanceId>", f"</instanceId>{token}", 1)
        if not instance.operator:
            return shown
        operator = f"<managed>true</managed><principal>{escape(instance.operator)}</principal>"
        return shown.replace("</instanceId>", f"</instanceId><operator>{operator}</operator>", 1)

    def _seen(self, profile_row: dict[str, Any]) -> float:
        """When a profile was first seen: ministack's own CreateDate counts whole seconds only."""
        return self._profiles_seen.setdefault(profile_row["InstanceProfileId"], now())


def _delete_volumes(record: dict[str, Any]) -> None:
    """Delete those that came with an instance, as EC2 does when it terminates (`DeleteOnTermination`)."""
    for each in record.pop("BlockDeviceMappings", ()):
        ec2._volumes.pop(each["Ebs"]["VolumeId"], None)
