"""A boto3-shaped EC2 client over the truth about EC2: the same answers and the same errors, in the process."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import botocore.session
from botocore.exceptions import ClientError

from fakes.calls import Calls
from fakes.clock import START
from fakes.launchers import FakeLaunchers
from rolekeeper_local.ec2_model import Association, Ec2Error, Instance
from rolekeeper_local.ec2_truth import Ec2Truth


def client_error(code: str, message: str = "", operation: str = "Operation", *, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the parts that matter
        operation,
    )


# What botocore knows of EC2's calls: which members a request may have.
EC2_META = SimpleNamespace(service_model=botocore.session.get_session().get_service_model("ec2"))


class FakeEc2:
    """The operations that Rolekeeper calls.

    Attributes:
        page_items: how many items a page has at most, whatever was asked for, which EC2 may give fewer than; None for
            as many as were asked for.
    """

    meta = EC2_META

    def __init__(self, truth: Ec2Truth, calls: Calls) -> None:
        self.page_items: int | None = 2
        self._truth = truth
        self._calls = calls
        self._retried: set[str] = set()
        self.launchers = FakeLaunchers(calls)
        self.describe_launch_template_versions = self.launchers.describe_launch_template_versions
        self.describe_fleets = self.launchers.describe_fleets
        self.describe_spot_fleet_requests = self.launchers.describe_spot_fleet_requests

    def lose_the_answer(self, operation: str) -> None:
        """The next call of an operation happens, but its answer is lost, so the SDK sends it a second time."""
        self._retried.add(operation)

    # ---- reading ----

    def get_paginator(self, name: str) -> "_Paginator":
        return _Paginator(getattr(self, name))

    def describe_instances(self, **arguments: Any) -> dict[str, Any]:
        rows, token = self._call(
            "DescribeInstances",
            lambda: self._truth.describe_instances(
                **self._page(arguments), managed_too=arguments.get("IncludeManagedResources", False)
            ),
        )
        instances = [{**instance_row(row), **self._profile(row.id)} for row in rows]
        return {"Reservations": [{"Instances": [each]} for each in instances], "NextToken": token}

    def _profile(self, instance: str) -> dict[str, Any]:
        row = self._truth.association_of(instance)
        return {"IamInstanceProfile": association_row(row)["IamInstanceProfile"]} if row else {}

    def describe_iam_instance_profile_associations(self, **arguments: Any) -> dict[str, Any]:
        rows, token = self._call(
            "DescribeIamInstanceProfileAssociations", lambda: self._truth.describe_associations(**self._page(arguments))
        )
        return {"IamInstanceProfileAssociations": [association_row(row) for row in rows], "NextToken": token}

    def _page(self, arguments: dict[str, Any]) -> dict[str, Any]:
        sizes = [size for size in (arguments.get("MaxResults"), self.page_items) if size]
        return {
            "filters": [(each["Name"], each["Values"]) for each in arguments.get("Filters", ())],
            "max_results": min(sizes, default=None),
            "next_token": arguments.get("NextToken"),
        }

    # ---- changing ----

    def associate_iam_instance_profile(self, **arguments: Any) -> dict[str, Any]:
        instance, profile = arguments["InstanceId"], arguments["IamInstanceProfile"]["Arn"]
        return self._mutation("AssociateIamInstanceProfile", lambda: self._truth.associate(instance, profile))

    def replace_iam_instance_profile_association(self, **arguments: Any) -> dict[str, Any]:
        association, profile = arguments["AssociationId"], arguments["IamInstanceProfile"]["Arn"]
        return self._mutation("ReplaceIamInstanceProfileAssociation", lambda: self._truth.replace(association, profile))

    def disassociate_iam_instance_profile(self, **arguments: Any) -> dict[str, Any]:
        association = arguments["AssociationId"]
        return self._mutation("DisassociateIamInstanceProfile", lambda: self._truth.disassociate(association))

    def create_tags(self, **arguments: Any) -> None:
        for each in self._call("CreateTags", lambda: arguments["Resources"]):
            self._truth.create_tags(each, {tag["Key"]: tag["Value"] for tag in arguments["Tags"]})

    def delete_tags(self, **arguments: Any) -> None:
        for each in self._call("DeleteTags", lambda: arguments["Resources"]):
            self._truth.delete_tags(each, dict.fromkeys(tag["Key"] for tag in arguments["Tags"]))

    def start_instances(self, **arguments: Any) -> None:
        for each in self._call("StartInstances", lambda: arguments["InstanceIds"]):
            self._truth.start(each)

    def stop_instances(self, **arguments: Any) -> None:
        for each in self._call("StopInstances", lambda: arguments["InstanceIds"]):
            self._truth.stop(each)

    # ---- how ----

    def _mutation(self, operation: str, change: Callable[[], Association]) -> dict[str, Any]:
        return {"IamInstanceProfileAssociation": association_row(self._call(operation, change))}

    def _call[Answer](self, operation: str, act: Callable[[], Answer]) -> Answer:
        self._calls.starts(operation)
        retries = 0
        try:
            if operation in self._retried:
                self._retried.remove(operation)
                retries = 1
                act()
            answer = act()
        except Ec2Error as error:
            refusal = client_error(error.code, error.message, operation)
            # botocore says how often it sent a call again by itself (botocore.endpoint, `_send_request`).
            refusal.response["ResponseMetadata"]["RetryAttempts"] = retries
            raise refusal from error
        self._calls.ends(operation)
        return answer


class _Paginator:
    def __init__(self, call: Callable[..., dict[str, Any]]) -> None:
        self._call = call

    def paginate(self, PaginationConfig: dict[str, int] | None = None, **arguments: Any) -> Iterator[dict[str, Any]]:  # noqa: N803  # boto3's own name
        size = {"MaxResults": PaginationConfig["PageSize"]} if PaginationConfig else {}
        token: str | None = None
        for _ in range(10_000):
            page = self._call(**arguments, **size, **({"NextToken": token} if token else {}))
            yield page
            token = page.get("NextToken")
            if not token:
                return


def instance_row(row: Instance) -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in row.tags.items()]
    shown: dict[str, Any] = {"InstanceId": row.id, "State": {"Name": str(row.state), "Code": row.state.number}}
    shown["LaunchTime"] = START + timedelta(seconds=row.launched_at)
    if row.operator:
        shown["Operator"] = {"Managed": True, "Principal": row.operator, "HiddenByDefault": row.hidden}
    # EC2 leaves the member out when there are no tags.
    return {**shown, "Tags": tags} if tags else shown


def association_row(row: Association) -> dict[str, Any]:
    return {
        "AssociationId": row.id,
        "InstanceId": row.instance_id,
        "IamInstanceProfile": {"Arn": row.profile_arn, "Id": row.profile_id},
        "State": str(row.state),
    }
