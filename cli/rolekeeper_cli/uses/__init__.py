"""What the command and the console do, as functions that return values: they print nothing and ask nobody."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.uses import (
        activity,
        acts,
        apply,
        control,
        dead_letters,
        edits,
        effect,
        explanation,
        files,
        fleet,
        fleet_uptake,
        follow,
        guard,
        history,
        instances,
        launch_files,
        launchers,
        launches,
        mappings,
        names,
        pins,
        preview,
        rehearsal,
        revocation,
        revoked_policy,
        roles,
        schema,
        targets,
        uptake,
        usage,
        who,
    )
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
