"""The roles under the path: who carries each, what it may do, and, if asked for, what of that it doesn't use.

IAM takes up to minutes for its reports of last use, so they are asked for by a link of their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.checks.deployment import DoctorDeployment
from rolekeeper_cli.console.jobs import Job, Jobs
from rolekeeper_cli.console.page import page
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.uses import roles as views
from rolekeeper_cli.uses.roles import DAYS, Asked
from rolekeeper_cli.uses.targets import Places

# What `?only=` shows, and which roles that are.
FILTERS = {"broad": "broad", "unused": "nothing uses it", "mapped": "given by a mapping", "carried": "carried"}


def roles(request: Request) -> Response:
    """All of them; with `?ask=last-accessed`, with IAM's reports of last use."""
    return _list(request, "roles.html", _all(request))


def roles_part(request: Request) -> Response:
    """The same for a page that waits for it; 204 while nothing is new."""
    job = _all(request, polls=True)
    return _unless_seen(request, job) or _list(request, "roles_list.html", job)


def again(request: Request) -> Response:
    """Read them once more. It only reads, so a link may do it."""
    request.app.state.site.jobs.get("roles", partial(_look, ask_last_accessed=False), anew=True)
    query = _query(request)
    return RedirectResponse(f"/roles?{query}" if query else "/roles", 303)


def role(request: Request) -> Response:
    """One role."""
    return _one(request, "role.html", *_role(request))


def role_part(request: Request) -> Response:
    """The same for a page that waits for it; 204 while nothing is new."""
    job, uses = _role(request, polls=True)
    return _unless_seen(request, uses or job) or _one(request, "role_facts.html", job, uses=uses)


# ---- what is asked of AWS ----


def _all(request: Request, *, polls: bool = False) -> Job:
    """The list; where it is asked for, or was found a short time ago, with the reports."""
    jobs: Jobs = request.app.state.site.jobs
    if _asks(request):
        return jobs.get("roles last-accessed", partial(_look, ask_last_accessed=True), polls=polls)
    return jobs.get("roles", partial(_look, ask_last_accessed=False), polls=polls)


def _role(request: Request, *, polls: bool = False) -> tuple[Job, Job | None]:
    """The list, in which the role is, and the role's own report, if it is asked for."""
    jobs: Jobs = request.app.state.site.jobs
    name = request.path_params["name"]
    job = jobs.get("roles", partial(_look, ask_last_accessed=False), polls=polls)
    # Of another account's role IAM isn't asked.
    asks = _asks(request) and not request.query_params.get("account")
    return job, jobs.get(f"role {name}", partial(_uses, name), polls=polls) if asks else None


def _asks(request: Request) -> bool:
    return request.query_params.get("ask") == "last-accessed"


def _look(deployment: DoctorDeployment, *, ask_last_accessed: bool) -> Iterator[Mapping[str, Any]]:
    places = Places.chosen(deployment)
    found = views.document(deployment, places, Asked(last_accessed=ask_last_accessed))
    found["unknown"] += places.unseen_in_words()
    home = deployment.home.account
    # Only a hub's say of which account they are.
    listed = [{"account": home, **each} for each in found["roles"]]
    several = len({each["account"] for each in listed}) > 1
    about = {"path": deployment.settings.role_path, "home": home, "several": several, "keys": _keys(deployment)}
    yield {**found, **about, "roles": listed}


def _uses(name: str, deployment: DoctorDeployment) -> Iterator[Mapping[str, Any]]:
    own = Places.of(deployment, [deployment.home])
    found = views.document(deployment, own, Asked([name], instances=False))
    yield {**found["roles"][0], "unknown": found["unknown"]}


def _keys(deployment: DoctorDeployment) -> Mapping[str, MappingKey]:
    """The mappings by what the documents call them; none where the caller may not see them, which the documents say."""
    try:
        return {str(each.key): each.key for each in deployment.specs}
    except AwsRefusalError:
        return {}


# ---- what is shown ----


def _list(request: Request, template: str, job: Job) -> Response:
    version, ended = job.version, job.ended
    found = next(iter(job.result()), None)
    only, text = request.query_params.get("only", ""), request.query_params.get("text", "").strip()
    account = request.query_params.get("account", "")
    there = [each for each in found["roles"] if account in ("", each["account"])] if found else []
    listed = [each for each in there if _is_shown(each, only, text)]
    return page(
        request,
        template,
        title="Roles",
        job=job,
        version=version,
        ended=ended,
        found=found,
        listed=listed,
        asks=_asks(request),
        only=only,
        text=text,
        account=account,
        filters=FILTERS,
        days=DAYS,
        query=partial(_query, request),
    )


def _one(request: Request, template: str, job: Job, uses: Job | None) -> Response:
    name = request.path_params["name"]
    version, ended = (uses or job).version, job.ended and (uses is None or uses.ended)
    found = next(iter(job.result()), None)
    account = request.query_params.get("account", "")
    shown = _of_account(name, account, found) if found else None
    if found and shown is None:
        where = f" in account {account}" if account else ""
        raise CommandError(f"there is no role {name} under {found['path']}{where}", advice("see: ", Remedy(Kind.ROLES)))
    return page(
        request,
        template,
        title=name,
        role_name=name,
        job=uses or job,
        version=version,
        ended=ended,
        found=found,
        role=shown,
        asks=uses is not None,
        uses=next(iter(uses.result()), None) if uses else None,
        days=DAYS,
        query=partial(_query, request),
        mapping_url=_mapping_url,
        names=_names(request, shown["instances"] or ()) if shown else {},
    )


def _of_account(name: str, account: str, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The role of a name in an account; without one in the own, or in the first that has one."""
    named = [each for each in found["roles"] if each["role"] == name and account in ("", each["account"])]
    return next((each for each in named if each["account"] == found["home"]), named[0] if named else None)


def _names(request: Request, instances: Iterable[str]) -> Mapping[str, str]:
    """The names of instances, as far as the fleet was read: for one that has one."""
    wanted = {each.rpartition("/")[2] for each in instances}
    return {row.id: row.name for row in request.app.state.site.fleet.ask().rows if row.name and row.id in wanted}


def _unless_seen(request: Request, job: Job) -> Response | None:
    """An answer that changes nothing, where the page shows all of it."""
    return Response(status_code=204) if request.query_params.get("seen") == str(job.version) else None


def _query(request: Request, **changes: object) -> str:
    """The address's own query with these changes."""
    return urlencode({**request.query_params, **changes})


def _mapping_url(key: MappingKey) -> str:
    return f"/mapping?{urlencode({'key': key.tag_key, 'value': key.tag_value})}"


def _is_shown(role: Mapping[str, Any], only: str, text: str) -> bool:
    words = (role["role"], *(role["mappings"] or ()), *(role["services"] or ()))
    if text and not any(text.lower() in each.lower() for each in words):
        return False
    match only:
        case "broad" | "unused":
            return bool(role[only])
        case "mapped":
            return bool(role["mappings"])
        case "carried":
            return bool(role["instances"])
    return True


ROUTES = [
    Route("/roles", roles),
    Route("/roles/part", roles_part),
    Route("/roles/again", again),
    Route("/role/{name}", role),
    Route("/role/{name}/part", role_part),
]
