"""What launches instances in one account and Region, as EC2 and Auto Scaling describe it, page by page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from fakes.calls import Calls


def tag_rows(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class FakeLaunchers:
    """The describing calls of both clients. `page` is how many items an answer has; `refuse` steps in before each."""

    def __init__(self, calls: Calls) -> None:
        self.page = 2
        self.refuse: Callable[[str], object] = lambda _: None
        self.templates: dict[str, list[dict[str, Any]]] = {}
        self.defaults: dict[str, int] = {}
        self.groups: list[dict[str, Any]] = []
        self.configurations: list[dict[str, Any]] = []
        self.fleets: list[dict[str, Any]] = []
        self.spot_fleets: list[dict[str, Any]] = []
        self.asked: list[Mapping[str, Any]] = []
        self._calls = calls

    def template(self, name: str, profile: str = "", **tags: str) -> str:
        """Make a template, or a new version of it; returns its id. A profile may be a name or an ARN."""
        data: dict[str, Any] = {"ImageId": "ami-1"}
        if profile:
            data["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
        if tags:
            data["TagSpecifications"] = [
                {"ResourceType": "volume", "Tags": tag_rows({"app": "volume"})},
                {"ResourceType": "instance", "Tags": tag_rows(tags)},
            ]
        versions = self.templates.setdefault(name, [])
        id_ = f"lt-{list(self.templates).index(name) + 1:017x}"
        numbered = {"LaunchTemplateId": id_, "LaunchTemplateName": name, "VersionNumber": len(versions) + 1}
        versions.append({**numbered, "LaunchTemplateData": data})
        self.defaults.setdefault(name, 1)
        return id_

    def group(self, name: str, template: str = "", version: str = "$Default", **more: Any) -> None:
        """Make a group. `tags` reach its instances, `own_tags` don't."""
        tags, own = more.pop("tags", {}), more.pop("own_tags", {})
        rows = [{**row, "PropagateAtLaunch": True} for row in tag_rows(tags)]
        rows += [{**row, "PropagateAtLaunch": False} for row in tag_rows(own)]
        launches = {"LaunchTemplate": specified(template, version)} if template else {}
        self.groups.append({"AutoScalingGroupName": name, "Tags": rows, **launches, **more})

    # ---- what the clients ask ----

    def describe_launch_template_versions(self, **asked: Any) -> dict[str, Any]:
        wanted = asked.get("LaunchTemplateId") or asked.get("LaunchTemplateName")
        found = {
            (name, number): {**each, "DefaultVersion": number == self.defaults[name]}
            for name, versions in self.templates.items()
            for number, each in enumerate(versions, 1)
            for text in asked["Versions"]
            if wanted in (None, name, each["LaunchTemplateId"])
            if number == {"$Default": self.defaults[name], "$Latest": len(versions)}.get(text) or text == str(number)
        }
        if wanted and not found:
            known = wanted in self.templates
            raise _refusal("Id.VersionNotFound" if known else "Name.NotFoundException")
        return self._answer("DescribeLaunchTemplateVersions", "LaunchTemplateVersions", list(found.values()), asked)

    def describe_fleets(self, **asked: Any) -> dict[str, Any]:
        return self._answer("DescribeFleets", "Fleets", self.fleets, asked)

    def describe_spot_fleet_requests(self, **asked: Any) -> dict[str, Any]:
        return self._answer("DescribeSpotFleetRequests", "SpotFleetRequestConfigs", self.spot_fleets, asked)

    def describe_auto_scaling_groups(self, **asked: Any) -> dict[str, Any]:
        return self._answer("DescribeAutoScalingGroups", "AutoScalingGroups", self.groups, asked)

    def describe_launch_configurations(self, **asked: Any) -> dict[str, Any]:
        names = asked["LaunchConfigurationNames"]
        found = [each for each in self.configurations if each["LaunchConfigurationName"] in names]
        return self._answer("DescribeLaunchConfigurations", "LaunchConfigurations", found, asked)

    def get_paginator(self, name: str) -> "_Paginator":
        return _Paginator(getattr(self, name))

    def _answer(
        self, operation: str, member: str, rows: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]
    ) -> dict[str, Any]:
        self.asked.append(asked)
        self._calls.starts(operation)
        self.refuse(operation)
        start = int(asked.get("NextToken", 0))
        more = {"NextToken": str(start + self.page)} if start + self.page < len(rows) else {}
        return {member: list(rows[start : start + self.page]), **more}


class _Paginator:
    def __init__(self, call: Callable[..., dict[str, Any]]) -> None:
        self._call = call

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._call(**asked, **token)
            yield page
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}


def _refusal(code: str) -> ClientError:
    error = {"Error": {"Code": f"InvalidLaunchTemplate{code}", "Message": ""}}
    return ClientError({**error, "ResponseMetadata": {"HTTPStatusCode": 400}}, "DescribeLaunchTemplateVersions")  # type: ignore[typeddict-item]  # the parts that matter


def specified(template: str, version: str = "$Default") -> dict[str, str]:
    """A launch template as a group or a fleet names it, by name."""
    return {"LaunchTemplateName": template, "Version": version}
