"""Which revision of a mapping a rollback goes to."""

from rolekeeper.model.mapping import MappingKey, PublishedMapping
from rolekeeper.model.problem import Kind, advice
from rolekeeper.storage import codec, layout
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError

_LOOKED_AT = 100


def revision_to_restore(deployment: Deployment, key: MappingKey, number: int | None) -> PublishedMapping:
    """That revision; without a number, the newest before what is served that isn't a deletion.

    Raises:
        CommandError: there is none such.
    """
    store = deployment.app.store
    pk = layout.mapping_pk(key)
    if number is not None:
        at = (pk, layout.revision_sk(number))
        items = store.get([at])
        if at not in items:
            raise CommandError(f"{key} has no revision {number}", advice("see: ", key.remedy(Kind.MAPPING_HISTORY)))
        found = store.decode(codec.published_from, items[at])
        if found.deleted:
            raise CommandError(
                f"revision {number} of {key} is its deletion",
                advice("to delete it again: ", key.remedy(Kind.REMOVE_MAPPING)),
            )
        return found
    published = deployment.app.revisions.read(key).published
    if published is None:
        raise CommandError(
            f"no revision of {key} was ever published", advice("see: ", key.remedy(Kind.MAPPING_HISTORY))
        )
    return revision_before(deployment, key, published.revision)


def revision_before(deployment: Deployment, key: MappingKey, number: int) -> PublishedMapping:
    """The newest revision before this one that isn't a deletion.

    Raises:
        CommandError: there is none.
    """
    store = deployment.app.store
    for item in store.last(layout.mapping_pk(key), "revision#", _LOOKED_AT):
        old = store.decode(codec.published_from, item)
        if old.revision < number and not old.deleted:
            return old
    raise CommandError(
        f"{key} has no revision before {number}", "name one with --to, or edit the row: rolekeeper mapping set"
    )
