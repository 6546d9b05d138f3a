"""Views of which a test needs a few fields."""

from typing import Any

from rolekeeper_cli.shell.view import View


def view_with[V: View](kind: type[V], **known: Any) -> V:
    """A view with these fields; the others are None."""
    fields: dict[str, Any] = {**dict.fromkeys(kind.fields), **known}
    return kind(**fields)
