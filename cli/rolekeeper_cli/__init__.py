"""The operators' command line. It decides and checks with the layer's own modules; nothing here is a second opinion."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:  # what no `--help` needs
    from rolekeeper_cli import completion, debug, deployment, documents, explained, plan_markdown, queries, tables
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
