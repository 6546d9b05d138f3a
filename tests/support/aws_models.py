"""Botocore's models of AWS, read once: each session would read them, and each client work out its events, anew.

That takes longer than most tests. To be imported before any session is made.
"""

from functools import cache

import botocore.session
from botocore.hooks import EventAliaser
from botocore.loaders import create_loader

botocore.session.create_loader = cache(create_loader)

_names: dict[str, str] = {}
EventAliaser._alias_name_cache = property(lambda _: _names, lambda _, _empty: None)  # type: ignore[attr-defined]  # noqa: SLF001

# What nearly all tests need: a process that is forked from one that has it, has it too.
_SESSION = botocore.session.get_session()
_SESSION.get_service_model("ec2")
_SESSION.get_service_model("iam")
_SESSION.get_data("endpoints")
