"""What a role may do, how two differ, and whether a role can be given at all."""

from typing import TYPE_CHECKING

from rolekeeper.lazy import modules_of

if TYPE_CHECKING:
    from rolekeeper.permissions import comparison, policies, roles
else:  # to mypy it would stand for any name
    __getattr__ = modules_of(__name__)
