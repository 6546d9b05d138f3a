"""Values as YAML that every reader takes for the same: what `mapping export` writes."""

from typing import Any

import yaml

from rolekeeper.model.text import escaped

# In C where libyaml is there; the same otherwise.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
STANDARD = "tag:yaml.org,2002:"


class _Quoting(_Dumper):  # type: ignore[misc]  # chosen at import
    """Writes text so that every YAML reader takes it as text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's own
        """Write equal values out each time: nobody who reads a diff follows anchors."""
        return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None
    if escaped(text, keep="\n") != text:
        # Only in these quotes does YAML know escapes, and `dumped` writes them.
        style = '"'
    elif not (text[:1].isalpha() and text[:1].isascii()):
        # Digits, dates and signs are quoted even where YAML 1.1 wouldn't: 1.2 reads them otherwise.
        style = "'"
    node: yaml.ScalarNode = dumper.represent_scalar(f"{STANDARD}str", text, style=style)
    return node


_Quoting.add_representer(str, _represent_text)


def dumped(value: Any) -> str:
    """A value as YAML that reads back as the same, with invisible characters escaped."""
    text: str = yaml.dump(
        value, Dumper=_Quoting, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000_000
    )
    return escaped(text, keep="\n")
