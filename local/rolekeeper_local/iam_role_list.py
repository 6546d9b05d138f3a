"""`GetAccountAuthorizationDetails` of roles: in pages and with boundaries, which ministack leaves out."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from ministack.services import iam

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response

# IAM API reference, "GetAccountAuthorizationDetails".
_ITEMS = 100


def install() -> None:
    correct(_details, "GetAccountAuthorizationDetails", iam._IAM_HANDLERS)


def _details(original: Callable[..., Response], params: dict[str, Any]) -> Response:
    status, headers, body = original(params)
    root = ET.fromstring(body)  # noqa: S314  # ministack's own
    namespace = root.tag[: root.tag.find("}") + 1]
    ET.register_namespace("", namespace.strip("{}"))
    result = root[0]
    (roles,) = (each for each in result if each.tag == f"{namespace}RoleDetailList")
    first = int(iam._p(params, "Marker") or 0)
    last = first + int(iam._p(params, "MaxItems") or _ITEMS)
    listed = list(roles)
    for role in {*listed} - {*listed[first:last]}:
        roles.remove(role)
    for role in roles:
        name = str(role.findtext(f"{namespace}RoleName"))
        if boundary := iam._roles[name].get("PermissionsBoundary"):
            element = ET.SubElement(role, f"{namespace}PermissionsBoundary")
            ET.SubElement(element, f"{namespace}PermissionsBoundaryArn").text = boundary
    if last < len(listed):
        ET.SubElement(result, f"{namespace}Marker").text = str(last)
        for each in result.iter(f"{namespace}IsTruncated"):
            each.text = "true"
    return status, headers, ET.tostring(root, encoding="utf-8", xml_declaration=True)
