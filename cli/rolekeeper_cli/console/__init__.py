"""The console: web pages on loopback for those who would rather look than type (`rolekeeper console`)."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper_cli.console import addresses, server
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
