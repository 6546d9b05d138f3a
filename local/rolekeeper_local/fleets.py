"""EC2 Fleets: ministack launches only those of type `instant`, and shows no fleet's launch templates.

AWS_FACTS.md, "What instances are launched with". A fleet launches its whole capacity at once, by its launch templates
and their overrides in turn. It replaces no instance.
"""

import itertools
import logging
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import autoscaling, ec2

from rolekeeper_local import ec2_wire, launch_templates
from rolekeeper_local.ec2_api import Ec2Api
from rolekeeper_local.ec2_model import Ec2Error
from rolekeeper_local.ec2_wire import Params, Response

logger = logging.getLogger(__name__)

_TAG = "aws:ec2:fleet-id"


class Fleets:
    """The calls about fleets; ministack keeps the fleets."""

    def __init__(self, ec2_api: Ec2Api) -> None:
        self._ec2_api = ec2_api

    def install(self) -> None:
        self._ec2_api.actions |= {
            "CreateFleet": self._create,
            "DeleteFleets": self._delete,
            "DescribeFleets": _describe,
            "DescribeSpotFleetRequests": lambda params: ec2_wire.answer(
                params["Action"], "<spotFleetRequestConfigSet/>"
            ),
        }

    def _create(self, params: Params) -> Response:
        instant = params.get("Type") == "instant"
        if not instant and ec2_wire.instance_tags(params):
            text = "Only an instant fleet tags instances; specify their tags in the launch template."
            raise Ec2Error("InvalidTagSpecification", text)
        configs = _configs(params)
        for config in configs:
            launch_templates.find(config["LaunchTemplateSpecification"])
        # ministack launches nothing for this type.
        ec2._create_fleet({**params, "Type": "maintain"})
        fleet = list(ec2._fleets.values())[-1]
        launched, errors = self._launch(fleet, configs, ec2_wire.instance_tags(params))
        fleet |= {"LaunchTemplateConfigs": configs, "Type": params.get("Type") or "maintain"}
        fleet |= {"FulfilledCapacity": float(len(launched)), "ActivityStatus": "error" if errors else "fulfilled"}
        inner = f"<fleetId>{fleet['FleetId']}</fleetId>"
        if instant:
            fleet["Instances"] = launched
            shown = ec2._fleet_instances_xml(launched)
            inner += f"<fleetInstanceSet>{shown}</fleetInstanceSet><errorSet>{_xml(errors)}</errorSet>"
        return ec2_wire.answer("CreateFleet", inner)

    def _delete(self, params: Params) -> Response:
        """DeleteFleets: instances run on, unless it says otherwise."""
        truth, deleted, unknown = self._ec2_api.truth(), [], []
        ends = params.get("TerminateInstances", "").lower() == "true"
        for id_ in ec2_wire.members(params, "FleetId"):
            if fleet := ec2._fleets.get(id_):
                before, fleet["FleetState"] = fleet["FleetState"], "deleted_terminating" if ends else "deleted_running"
                states = {"CurrentFleetState": fleet["FleetState"], "PreviousFleetState": before}
                deleted.append({"FleetId": id_, **states})
                for each in truth.describe_instances(filters=[(f"tag:{_TAG}", [id_])])[0] if ends else ():
                    truth.terminate(each.id)
            else:
                unknown.append(
                    {"FleetId": id_, "Error": {"Code": "fleetIdDoesNotExist", "Message": "It does not exist."}}
                )
        inner = f"<successfulFleetDeletionSet>{_xml(deleted)}</successfulFleetDeletionSet>"
        inner += f"<unsuccessfulFleetDeletionSet>{_xml(unknown)}</unsuccessfulFleetDeletionSet>"
        return ec2_wire.answer("DeleteFleets", inner)

    def _launch(
        self, fleet: dict[str, Any], configs: list[dict[str, Any]], tags: dict[str, str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Launch a fleet's capacity; returns what was launched, and what was refused."""
        launched, errors = [], []
        own = ec2_wire.instance_tag_params({**tags, _TAG: fleet["FleetId"]})
        ways = [(config["LaunchTemplateSpecification"], each) for config in configs for each in config["Overrides"]]
        capacity = fleet["TargetCapacitySpecification"]["TotalTargetCapacity"]
        for template, override in itertools.islice(itertools.cycle(ways), capacity):
            named = {f"LaunchTemplate.{member}": text for member, text in template.items()}
            profile = {
                f"IamInstanceProfile.{key}": text for key, text in override.get("IamInstanceProfile", {}).items()
            }
            plain = {member: text for member, text in override.items() if isinstance(text, str)}
            try:
                (instance,) = self._ec2_api.run({**plain, **profile, **named, **own})
            except Ec2Error as error:
                logger.info("%s can't launch: %s", fleet["FleetId"], error)
                errors.append({"ErrorCode": error.code, "ErrorMessage": error.message})
                continue
            launched.append(
                {
                    "InstanceIds": [instance.id],
                    "InstanceType": instance.attributes["instance-type"],
                    "Lifecycle": fleet["TargetCapacitySpecification"]["DefaultTargetCapacityType"],
                    "LaunchTemplateSpec": template,
                }
            )
        return launched, errors


def _configs(params: Params) -> list[dict[str, Any]]:
    """The launch templates that a request names, each with its overrides, at least an empty one."""
    found = autoscaling._parse_nested(params, "LaunchTemplateConfigs")
    return [{**each, "Overrides": list(each.get("Overrides", {"": {}}).values())} for each in found.values()]


def _describe(params: Params) -> Response:
    """DescribeFleets; an instant fleet is shown only if its id is asked for."""
    asked = ec2_wire.members(params, "FleetId")
    shown = asked or [each["FleetId"] for each in ec2._fleets.values() if each["Type"] != "instant"]
    page, token = ec2_wire.cut(shown, params)
    if not page:
        return ec2_wire.answer("DescribeFleets", "<fleetSet/>")
    status, headers, body = ec2._describe_fleets({f"FleetId.{n}": each for n, each in enumerate(page, 1)})
    for each in page if status == 200 else ():  # noqa: PLR2004 - HTTP's
        id_ = f"<fleetId>{each}</fleetId>"
        configs = f"<launchTemplateConfigs>{_xml(ec2._fleets[each]['LaunchTemplateConfigs'])}</launchTemplateConfigs>"
        body = body.replace(id_.encode(), (id_ + configs).encode())
    return status, headers, body.replace(b"</fleetSet>", b"</fleetSet>" + ec2_wire.token_xml(token).encode())


def _xml(value: Any) -> str:
    """A value of a request as EC2 shows it."""
    if isinstance(value, dict):
        return "".join(
            f"<{key[0].lower()}{key[1:]}>{_xml(each)}</{key[0].lower()}{key[1:]}>" for key, each in value.items()
        )
    if isinstance(value, list):
        return "".join(f"<item>{_xml(each)}</item>" for each in value)
    return escape(str(value))
