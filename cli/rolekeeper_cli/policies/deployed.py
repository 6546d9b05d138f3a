"""What the documents name of a deployment: its ARNs, the roles that act for it, and the tag keys that mean a role."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model.mapping import IGNORE_TAG, MappingSpec
from rolekeeper.settings import Access
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.writes.mapping_rows import Rows

# By their names in the template; a test compares what they may do.
_MAKE_PROFILES = ("OnMappingChangeRole", "OnScheduleRole")
_CHANGE_ASSOCIATIONS = ("OnInstanceEventRole",)


@dataclass(frozen=True, slots=True)
class Arns:
    """The ARNs of one deployment, in its account and Region. `path` is the role path.

    A hub has the namespace of its `spokes`: what it serves is in any account and Region.
    """

    partition: str
    account: str
    region: str
    path: str
    stack: str
    mapping_table: str
    state_table: str
    spokes: str = ""

    def here(self, service: str, resource: str) -> str:
        """Something of the Region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def served(self, service: str, resource: str) -> str:
        """Something of the Region, or of each that a hub serves."""
        region, account = ("*", "*") if self.spokes else (self.region, self.account)
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"

    def served_iam(self, kind: str, name: str) -> str:
        """Something of IAM's, in each account that is served; `name` with its path, as `/rolekeeper/*`."""
        return f"arn:{self.partition}:iam::{'*' if self.spokes else self.account}:{kind}{name}"

    def acting(self, functions: Iterable[str]) -> list[str]:
        """The roles that change what is served: the functions', by name, and each spoke's changer."""
        own = [f"arn:{self.partition}:iam::{self.account}:role/{name}" for name in functions]
        return [*own, self.served_iam("role", f"/{self.spokes}-{Access.CHANGER}")] if self.spokes else own

    def sessions(self, functions: Iterable[str]) -> list[str]:
        """The sessions of the same."""
        roles = (each.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") for each in self.acting(functions))
        return [f"{each}/*" for each in roles]


def arns(deployment: Deployment) -> Arns:
    """The deployment's ARNs."""
    settings, caller = deployment.settings, deployment.caller
    return Arns(
        caller.partition,
        caller.account,
        str(deployment.session.region_name),
        path=settings.role_path,
        stack=deployment.stack.name,
        mapping_table=settings.mapping_table,
        state_table=settings.state_table,
        spokes=settings.namespace if settings.organization else "",
    )


def roles_that_make_profiles(deployment: Deployment) -> list[str]:
    """The roles of the functions that make instance profiles, by name."""
    return [deployment.resource(each) for each in _MAKE_PROFILES]


def roles_that_change_associations(deployment: Deployment) -> list[str]:
    """The roles of the functions that attach, replace and detach, by name."""
    return [deployment.resource(each) for each in _CHANGE_ASSOCIATIONS]


def specs(deployment: Deployment, rows: Rows) -> list[MappingSpec]:
    """Every mapping: as its row says, where that can be read, and as it is published."""
    published = deployment.app.state.read([], rows).published.values()
    written = [spec for row in rows.values() if (spec := read_row(row, deployment.app.home).spec)]
    return [*written, *(each.spec for each in published if not each.deleted)]


def mapped_keys(rows: Rows, mappings: Iterable[MappingSpec]) -> Sequence[str]:
    """The tag keys by which a person who tags chooses a role, or keeps Rolekeeper away."""
    required = {key for each in mappings for key in each.require_tags}
    return sorted({each.tag_key for each in rows} | required | {IGNORE_TAG})
