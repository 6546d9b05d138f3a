"""Launch templates where ministack isn't EC2, and what a launch takes from one.

AWS_FACTS.md, "What instances are launched with". ministack keeps the templates; `RunInstances` of it ignores them.
"""

from collections.abc import Mapping
from typing import Any

from ministack.services import ec2

from rolekeeper_local import ec2_wire
from rolekeeper_local.ec2_model import Ec2Error
from rolekeeper_local.ec2_wire import Params, Response

type Record = dict[str, Any]

_NAMED = ("LaunchTemplateId", "LaunchTemplateName")
#: The versions that may be asked for of all templates at once.
_BY_NAME = {"$Latest": "LatestVersionNumber", "$Default": "DefaultVersionNumber"}
#: What a launch takes as it is; profile, groups and tags have their own ways.
_PLAIN = ("ImageId", "InstanceType", "KeyName", "UserData")


def find(specification: Mapping[str, str]) -> Record:
    """The template that `LaunchTemplateId` or `LaunchTemplateName` names; an Ec2Error if there is none."""
    id_, name = specification.get("LaunchTemplateId"), specification.get("LaunchTemplateName")
    for template in ec2._launch_templates.values():
        if template["LaunchTemplateId"] == id_ or (not id_ and template["LaunchTemplateName"] == name):
            found: Record = template
            return found
    if id_:
        raise Ec2Error("InvalidLaunchTemplateId.NotFound", f"The specified launch template, {id_}, does not exist.")
    raise Ec2Error(
        "InvalidLaunchTemplateName.NotFoundException", f"The specified launch template, {name}, does not exist."
    )


def version_of(template: Record, wanted: str) -> Record:
    """The version with this number, `$Latest` or `$Default`; an Ec2Error if there is none."""
    number = str(template[_BY_NAME[wanted]]) if wanted in _BY_NAME else wanted
    for version in template["Versions"]:
        if str(version["VersionNumber"]) == number:
            found: Record = version
            return found
    text = f"Could not find the specified version {wanted} of the launch template {template['LaunchTemplateId']}."
    raise Ec2Error("InvalidLaunchTemplateId.VersionNotFound", text)


def with_template(params: Params) -> Params:
    """RunInstances' parameters, with what its launch template adds: what the request says itself wins."""
    asked = ec2_wire.below(params, "LaunchTemplate.")
    if not asked:
        return params
    template = find(asked)
    version = version_of(template, asked.get("Version") or "$Default")
    data = version["LaunchTemplateData"]
    added = {name: data[name] for name in _PLAIN if name in data}
    if not ec2_wire.profile(params, required=False):
        added |= {f"IamInstanceProfile.{key}": value for key, value in data.get("IamInstanceProfile", {}).items()}
    if "SecurityGroupId.1" not in params:
        added |= {f"SecurityGroupId.{n}": each for n, each in enumerate(data.get("SecurityGroupIds", ()), 1)}
    tags = {
        **{tag["Key"]: tag.get("Value", "") for tag in _instance_tags(data)},
        **ec2_wire.instance_tags(params),
        "aws:ec2launchtemplate:id": template["LaunchTemplateId"],
        "aws:ec2launchtemplate:version": str(version["VersionNumber"]),
    }
    own = {key: value for key, value in params.items() if not key.startswith("TagSpecification.")}
    return {**added, **own, **ec2_wire.instance_tag_params(tags)}


def _instance_tags(data: Record) -> list[dict[str, str]]:
    specified = data.get("TagSpecifications", ())
    return [tag for each in specified if each["ResourceType"] == "instance" for tag in each.get("Tags", ())]


# ---- the calls ----


def create_version(params: Params) -> Response:
    """CreateLaunchTemplateVersion: a source may be `$Latest` or `$Default`; one that isn't there is refused."""
    template = find(params)
    if source := params.get("SourceVersion"):
        params = {**params, "SourceVersion": str(version_of(template, source)["VersionNumber"])}
    answer: Response = ec2._create_launch_template_version(params)
    return answer


def modify(params: Params) -> Response:
    number = version_of(find(params), params.get("SetDefaultVersion", "$Default"))["VersionNumber"]
    answer: Response = ec2._modify_launch_template({**params, "SetDefaultVersion": str(number)})
    return answer


def describe(params: Params) -> Response:
    named = [find({member: each}) for member in _NAMED for each in ec2_wire.members(params, member)]
    page, token = ec2_wire.cut(named or list(ec2._launch_templates.values()), params)
    asked = {key: value for key, value in params.items() if not key.startswith(_NAMED)}
    ids = {f"LaunchTemplateId.{n}": each["LaunchTemplateId"] for n, each in enumerate(page, 1)}
    status, headers, body = ec2._describe_launch_templates({**asked, **ids})
    end = b"</launchTemplates>"
    return status, headers, body.replace(end, end + ec2_wire.token_xml(token).encode())


def describe_versions(params: Params) -> Response:
    """DescribeLaunchTemplateVersions: of one template, or the latest or default ones of all."""
    wanted = ec2_wire.members(params, "LaunchTemplateVersion")
    if any(params.get(each) for each in _NAMED):
        templates = [find(params)]
    elif wanted and set(wanted) <= set(_BY_NAME):
        templates = list(ec2._launch_templates.values())
    else:
        text = "Without a launch template, the versions must be $Latest, $Default or both."
        raise Ec2Error("InvalidParameterCombination", text)
    rows: list[Record] = []
    for template in templates:
        found = [version_of(template, each) for each in wanted] or template["Versions"]
        rows += sorted({one["VersionNumber"]: one for one in found}.values(), key=lambda one: -one["VersionNumber"])
    page, token = ec2_wire.cut(rows, params)
    items = "".join(ec2._lt_version_xml(each) for each in page)
    return ec2_wire.answer(
        params["Action"], f"<launchTemplateVersionSet>{items}</launchTemplateVersionSet>{ec2_wire.token_xml(token)}"
    )


CALLS = {
    "CreateLaunchTemplateVersion": create_version,
    "ModifyLaunchTemplate": modify,
    "DescribeLaunchTemplates": describe,
    "DescribeLaunchTemplateVersions": describe_versions,
}
