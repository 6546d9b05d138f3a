"""Names of roles and mappings: how a person writes them, and suggestions for a slip, if the caller may list them."""

from collections.abc import Iterable, Sequence
from shlex import quote

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.mapping import ANY_VALUE, NO_ROLE, MappingKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.model.text import key_text, split_key
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.shell.suggest import did_you_mean, near

ESCAPES = r"an equals sign in the tag's key is written \="


def mapping_key(text: str) -> MappingKey:
    """A key as `tag_key=tag_value`. UsageError if it isn't one."""
    tag_key, equals, tag_value = split_key(text)
    if not (tag_key and equals):
        raise UsageError(f"'{text}' isn't a mapping", f"name one as tag_key=tag_value, like workload=web; {ESCAPES}")
    if not tag_value:
        wild = key_text(tag_key, ANY_VALUE)
        raise UsageError(f"the tag value of '{tag_key}' is empty", f"write {wild} for any value")
    return MappingKey(tag_key, tag_value)


def tag_filter(text: str) -> MappingKey:
    """A tag to filter by: `KEY` with any value, or `KEY=VALUE`. UsageError if it isn't one."""
    tag_key, equals, tag_value = split_key(text)
    if not tag_key:
        raise UsageError(f"{text!r} is no tag", "name one as KEY, or KEY=VALUE")
    return MappingKey(tag_key, tag_value if equals else ANY_VALUE)


def path_roles(deployment: Deployment) -> list[str]:
    """The names of the roles under the role path; none if the caller may not list them."""
    if deployment.elsewhere:
        return []  # no spoke lets its roles be listed
    try:
        return [role.name for role in deployment.path_roles]
    except AccessDeniedError:
        return []


def nearest_role(name: str, roles: Sequence[str]) -> str:
    """The one of these roles that a wrong name may mean; empty if none is near, or the name is right."""
    return "" if name in {*roles, NO_ROLE} else next(iter(near(name, roles)), "")


def is_known_role(deployment: Deployment, name: str) -> bool:
    """Whether IAM knows a role or an instance profile of this name, or the caller may not see that."""
    iam = deployment.app.iam
    try:
        return name == NO_ROLE or bool(iam.get_instance_profile(name) or iam.get_role(name))
    except AccessDeniedError:
        return True


def no_such_role(deployment: Deployment, name: str, others: Iterable[str] = ()) -> CommandError:
    """The error for a role that doesn't exist; `others` are names beside those under the path."""
    meant = did_you_mean(name, {*path_roles(deployment), *others})
    listed = f"aws iam list-roles --path-prefix {deployment.settings.role_path}"
    return CommandError(f"there is no role '{name}'", f"{meant} See: {listed}".lstrip())


def require_mapping(deployment: Deployment, key: MappingKey, note: str = "") -> None:
    """Refuse a mapping that has no row and isn't in effect; a `note` ends the sentence that says so."""
    published = deployment.app.state.read([], [key]).published.get(key)
    if published and not published.deleted:
        return
    if key not in (keys := row_keys(deployment)):
        raise no_such_mapping(key, keys, note)


def row_keys(deployment: Deployment) -> list[MappingKey]:
    """The keys of all rows; none if the caller may not read them."""
    try:
        return list(deployment.app.table.all_rows())
    except AccessDeniedError:
        return []


def no_such_mapping(key: MappingKey, others: Iterable[MappingKey], note: str = "") -> CommandError:
    found = " or ".join(map(quote, near(str(key), map(str, others))))
    hints = [f"did you mean {found}?" if found else "", f"{ESCAPES}." if "=" in key.tag_value else "", "See: "]
    remedy = advice(" ".join(filter(None, hints)), Remedy(Kind.MAPPINGS))
    return CommandError(f"there is no mapping {key}{note}", remedy)
