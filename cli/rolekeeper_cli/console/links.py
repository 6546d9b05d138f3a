"""Addresses of pages."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from rolekeeper.model.mapping import ANY_VALUE, MappingKey


def mapping_url(key: MappingKey, path: str = "/mapping", **more: str) -> str:
    """The page of one mapping, or another one about it."""
    return f"{path}?{urlencode({'key': key.tag_key, 'value': key.tag_value, **more})}"


def mapping_key(mapping: MappingKey | Mapping[str, Any]) -> MappingKey:
    """The key of a mapping in a template, which may have its document."""
    if isinstance(mapping, MappingKey):
        return mapping
    return MappingKey(mapping["columns"]["tag_key"], mapping["columns"]["tag_value"])


def mapping_filter(mapping: MappingKey | Mapping[str, Any], path: str = "/mapping", **more: str) -> str:
    """The same as `mapping_url` for a template."""
    return mapping_url(mapping_key(mapping), path, **more)


def mapping_named(text: str, tags: Iterable[tuple[str, str]] = ()) -> str:
    """The page of the mapping that a document names, by the tags of the instance that it is about.

    A key may hold a `=` itself: then it is the tag that tells where the key ends.
    """
    for key, value in tags:
        if text in {f"{key}={value}", f"{key}={ANY_VALUE}"}:
            return mapping_url(MappingKey(key, text.removeprefix(f"{key}=")))
    key, _, value = text.partition("=")
    return mapping_url(MappingKey(key, value))


def query(values: Mapping[str, object]) -> str:
    """Names and values as an address has them behind its `?`; empty ones are left out."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})
