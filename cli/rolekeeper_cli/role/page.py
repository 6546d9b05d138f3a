"""The roles under the path: who gives and carries each, what it may do, and, if asked for, what it doesn't use.

IAM takes up to minutes for its reports of last use, so they are asked for by a link of their own.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from starlette.requests import Request

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.model.mapping import NO_ROLE, MappingKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.console.jobs import Job, followed, look
from rolekeeper_cli.console.page import Asked, Sort, contains, listed, query_of
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.fleet.cache import FleetRow
from rolekeeper_cli.role import use as views
from rolekeeper_cli.role.access import Access, with_policies
from rolekeeper_cli.role.use import DAYS
from rolekeeper_cli.role.view import RolesView, RoleView
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.view import MappingView
from rolekeeper_cli.shell.layout import grouped
from rolekeeper_cli.target.use import Places

# What `?only=` shows, what those are called, and the member that says which roles they are.
FILTERS = {
    "broad": ("broad", "broad"),
    "unused": ("unused", "unused"),
    "mapped": ("given by a mapping", "mappings"),
    "carried": ("carried", "instances"),
}
_COLUMNS: Mapping[str, Callable[[RoleView], Any]] = {
    "role": lambda each: each.role,
    "account": lambda each: each.account,
    "given": lambda each: len(each.mappings or ()),
    "carried": lambda each: len(each.instances or ()),
    "used": lambda each: each.last_used.timestamp() if each.last_used else 0.0,
    "broad": lambda each: bool(each.broad),
}

_ASKS = "last-accessed"


class RoleOnPage(RoleView):
    """A role with what it may do, as far as that is known, and in JSON the policies that say so.

    `mappings` are those that are in effect; `idle`, how many others name it.
    """

    access: Sequence[Access] | None = None
    in_short: str = ""
    policies: Mapping[str, str] = MappingProxyType({})
    trust: str = ""
    idle: int = 0


class RolesOnPage(RolesView):
    """The roles, `whole` once all that was asked; `keys` are those of the mappings, by their names."""

    roles: Sequence[RoleOnPage]
    whole: bool
    path: str
    keys: Mapping[str, MappingKey]

    @property
    def several(self) -> bool:
        """Whether they are of more than one account."""
        return len({each.account for each in self.roles}) > 1


def _all(request: Request, *, asks: bool = False) -> Job:
    """The list; only if `asks`, with reports of last use."""
    name = f"roles {_ASKS}" if asks else "roles"
    return look(request, name, partial(_look, site=request.app.state.site, asks=asks))


def _look(deployment: Deployment, site: Any, *, asks: bool) -> Iterator[RolesOnPage]:
    """Yield the roles that mappings give; the own ones; then all, with what AWS says of each."""
    places, own, home = Places.chosen(deployment), Places.of(deployment, [deployment.home]), deployment.home.account
    # Of several targets of an account, it was the first that was asked.
    readers = {each.settings.account: each.app.roles.policies for each in reversed(places.all)}
    # Only a hub's say of which account they are.
    rows: dict[str, MappingView] = {}
    with suppress(AwsRefusalError):  # the documents say that the caller may not see them
        rows = {row.mapping: row for row in site.mappings()}
    read = partial(views.view, deployment, last_accessed=asks)
    looks: Sequence[Callable[[], RolesView]] = [
        lambda: _given(rows),
        lambda: read(own, instances=False),
        lambda: read(places, instances=True),
    ]
    for look_ in looks[-1:] if asks else looks:
        found = look_()
        more = {
            "roles": [_in_effect(_with_access(each, each.account or home, readers), rows) for each in found.roles],
            "unknown": [*found.unknown, *places.unseen_in_words()],
            "keys": {name: mappings.key_of(row) for name, row in rows.items()},
        }
        path, whole = deployment.settings.role_path, look_ is looks[-1]
        yield RolesOnPage(**vars(found) | more, whole=whole, path=path)


def _given(rows: Mapping[str, MappingView]) -> RolesView:
    """Return what the mappings alone say of roles."""
    given = grouped((row.in_effect.role, name) for name, row in rows.items() if row.in_effect)
    given.pop(NO_ROLE, None)
    unread = RoleView.of_nothing().but(arn="", smaller=())
    roles = [unread.but(role=role, mappings=names) for role, names in given.items()]
    return RolesView(roles=roles, summary=views.counts(roles), account=None, unknown=())


def _with_access(found: RoleView, account: str, readers: Mapping[str, PolicyReader]) -> RoleOnPage:
    role = None if found.services is None else readers[account].role(found.role)
    more = with_policies(readers[account], role) if role else {}
    return RoleOnPage(**vars(found) | {"account": account} | more)


def _uses(name: str, deployment: Deployment) -> Iterator[RoleView]:
    own = Places.of(deployment, [deployment.home])
    yield views.view(deployment, own, names=[name], instances=False).roles[0]


def _in_effect(role: RoleOnPage, rows: Mapping[str, MappingView]) -> RoleOnPage:
    """The role with only those of its mappings that give it now."""

    def gives(name: str) -> bool:
        row = rows.get(name)
        return row is None or bool(row.in_effect and row.in_effect.role == role.role and not row.idle_because)

    given = None if role.mappings is None else list(filter(gives, role.mappings))
    return role.but(mappings=given, idle=len(role.mappings or ()) - len(given or ()))


def _list(request: Request) -> dict[str, Any]:
    """All of them; with `?ask=last-accessed`, with IAM's reports of last use."""
    asked = Asked.of(request)
    asks, only, account = asked["ask"] == _ASKS, asked["only"], asked["account"]
    seen = _all(request, asks=asks).seen()
    found: RolesOnPage | None = seen.newest
    of_account = [each for each in found.roles if account in ("", each.account)] if found else []
    texts = [(each, (each.role, each.in_short, *(each.mappings or ()), *(each.services or ()))) for each in of_account]
    roles = [each for each, text in texts if contains(asked["text"], *text)]
    sort = Sort.read(asked["sort"], _COLUMNS)
    options = [*([] if asks else ["--no-last-accessed"]), *(["--unused"] if only == "unused" else [])]
    return vars(seen) | {
        "title": "Roles",
        "asks": asks,
        "filters": {name: (words, sum(_is(name, each) for each in roles)) for name, (words, _) in FILTERS.items()},
        "total": len(roles),
        "days": DAYS,
        "found": found,
        "listed": listed(request, sort.ordered([each for each in roles if _is(only, each)], _COLUMNS)),
        "sort": sort,
        "sorted_by": lambda text: f"/roles?{query_of(request, sort=text, page='')}",
        "command": shlex.join(["rolekeeper", "roles", *options, *(["--target", account] if account else [])]),
    }


def _one(request: Request) -> dict[str, Any]:
    """One role, and what it doesn't use, if that is asked for; of another account's role IAM isn't asked."""
    name, asked = request.path_params["name"], Asked.of(request)
    job, uses, account = _all(request), None, asked["account"]
    if asked["ask"] == _ASKS and not account:
        uses = look(request, f"role {name}", partial(_uses, name))
    seen, of_all = (uses or job).seen(), job.seen()
    found: RolesOnPage | None = of_all.newest
    # By default the home account's, or that of the first that has it.
    home = request.app.state.site.deployment.home.account
    named = [each for each in found.roles if each.role == name and account in ("", each.account)] if found else []
    shown = min(named, key=lambda each: each.account != home, default=None)
    if found and found.whole and shown is None:
        where = f" in account {account}" if account else ""
        raise CommandError(f"there is no role {name} under {found.path}{where}", advice("see: ", Remedy(Kind.ROLES)))
    instances = listed(request, _rows(request, (shown.instances if shown else None) or ()), "#instances")
    return vars(seen) | {
        "title": name,
        "role_name": name,
        "asks": uses is not None,
        "days": DAYS,
        "ended": of_all.ended and seen.ended,
        "uses": seen.newest if uses else None,
        "found": found,
        "role": shown,
        "instances": instances,
    }


def _rows(request: Request, instances: Iterable[str]) -> list[tuple[str, FleetRow | None]]:
    """Instances that a command's document names, by id, each as the fleet knows it; None where that isn't read so far.

    What needs a person comes first.
    """
    known = {row.id: row for row in request.app.state.site.fleet.ask().rows}
    found = [(id_, known.get(id_)) for id_ in (each.rpartition("/")[2] for each in instances)]
    return sorted(found, key=lambda each: each[1].order if each[1] else (len(InstanceStatus), each[0], ""))


def _is(only: str, role: RoleOnPage) -> bool:
    return only not in FILTERS or bool(getattr(role, FILTERS[only][1]))


ROUTES = [*followed("/roles", _list, "roles.html"), *followed("/role/{name}", _one, "role.html")]
