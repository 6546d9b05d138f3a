"""What completion offers beside click's own: columns of the mapping table, and in bash words that hold a `=`."""

import os

import click


def columns(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The columns of the mapping table."""
    from rolekeeper_cli.column_help import columns as every

    return sorted(name for name in every() if name.startswith(incomplete))


def columns_after_key(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Behind the mapping's key, the columns that are part of it, each with a `=`."""
    from rolekeeper.mappings.rows.columns import COLUMNS

    has_key = context.params.get("words") or context.params.get("tag_key")
    return sorted(f"{each.name}=" for each in COLUMNS if has_key and each.name.startswith(incomplete))


def use_bash_words() -> None:
    """Have bash's words put together again, where completion is for bash."""
    if os.environ.get("_ROLEKEEPER_COMPLETE", "").startswith("bash_complete"):
        from click.shell_completion import add_completion_class

        from rolekeeper_cli.completion_bash import Bash

        add_completion_class(Bash)
