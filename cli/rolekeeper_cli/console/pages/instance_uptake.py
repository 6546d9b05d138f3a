"""Whether software on an instance uses its roles, and until when former ones are valid: on a line of time, in words."""

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.problem import Kind, Remedy, typed
from rolekeeper_cli.console.page import page, see_other
from rolekeeper_cli.console.pages.instance import read_once, story
from rolekeeper_cli.console.pages.instance_story import lane
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.uses.instances import ID, addressed, key_of
from rolekeeper_cli.uses.uptake import Held, Uptake, of_instance, sdk


def uptake(request: Request) -> Response:
    """What CloudTrail says, which takes seconds: a part for htmx, a page for a browser without scripts."""
    site, id_ = request.app.state.site, request.path_params["id"]
    if not ID.fullmatch(id_):
        return see_other(f"/instance/{quote(id_)}")
    deployment, row = site.look_at(id_), site.fleet.row(id_)
    name = row.name if row else ""

    def ask() -> Uptake:
        # Two calls a second in an account and Region: one page asks at a time.
        with site.asking_who:
            return of_instance(deployment, key_of(deployment, id_), name)

    values: dict[str, Any] = {"id": id_, "title": f"Does software use it: {name or id_}", "sdk": sdk, "shown": None}
    roles, unknown = tuple[Held, ...](), ""
    try:
        found = read_once(request, "uptake", id_, read=ask)
    except AwsRefusalError as error:
        unknown = refusal(error).what
    else:
        revoke = Remedy(Kind.REVOKE, (addressed(deployment, id_),))
        commands = {each.role: typed(f"{revoke} --role {each.role}") for each in found.former}
        values |= {"shown": found.document(), "commands": commands}
        roles, unknown = found.roles, found.unknown_because
    spans, past = story(request, id_)["spans"], request.query_params.get("span", "")
    drawn = lane(spans, roles, deployment.now(), past=past)
    part = "part" if "HX-Request" in request.headers else ""
    return page(request, "instance_uptake.html", part=part, unknown=unknown, lane=drawn, **values)


ROUTES = [Route("/instance/{id}/uptake", uptake)]
