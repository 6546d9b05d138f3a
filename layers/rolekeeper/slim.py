"""Cuts botocore's data down to the operations that the layer calls: `slim.py DIRECTORY`, its `botocore/data`.

Reading the whole models takes longer than all the rest of a cold start. An operation that isn't listed here isn't there
in Lambda: its client has no such method. tests/unit/test_slim.py fails before. It is beside the layer's sources because
`sam build` copies this folder alone, and builds again only when something in it changed.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

from rolekeeper.aws.answers import MEMBERS

# What the layer calls, by botocore's name of the service.
OPERATIONS: Mapping[str, list[str]] = json.loads(Path(__file__).with_name("operations.json").read_text())
# What is written into a request as it is: an item's key has texts, and botocore would go through a hundred a read.
AS_IT_IS: Mapping[str, Any] = {"Key": {"type": "structure", "members": {}, "document": True}}
# What botocore reads beside the services; of the endpoints only those of our services.
GENERAL = ("_retry", "endpoints", "partitions", "sdk-default-configuration")

type Document = dict[str, Any]


def slim(loader: Loader, to: Path) -> None:
    """Write what botocore reads for these operations, as it is in the data that the loader finds."""
    prefixes = set()
    for service, operations in OPERATIONS.items():
        version = loader.determine_latest_version(service, "service-2")
        model = loader.load_service_model(service, "service-2", version)
        pages = loader.load_service_model(service, "paginators-1", version)["pagination"]
        rules = loader.load_service_model(service, "endpoint-rule-set-1", version)
        prefixes.add(model["metadata"]["endpointPrefix"])
        _write(to / service / version / "service-2.json", _only(model, operations))
        _write(to / service / version / "paginators-1.json", {"pagination": _named(pages, operations)})
        _write(to / service / version / "endpoint-rule-set-1.json", rules)
    for name in GENERAL:
        document = loader.load_data(name)
        if name == "endpoints":
            partitions = [{**part, "services": _named(part["services"], prefixes)} for part in document["partitions"]]
            document = {**document, "partitions": partitions}
        _write(to / f"{name}.json", document)


def _only(model: Document, operations: list[str]) -> Document:
    """Return a service's model with these operations, the shapes that they reach, and no documentation."""
    kept: Document = {name: model["operations"][name] for name in operations}
    shapes: Document = {}
    wanted = [*_shapes(kept)]
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = shape = dict(AS_IT_IS.get(name) or model["shapes"][name])
            if name in MEMBERS:
                shape["members"] = _named(shape["members"], MEMBERS[name])
            wanted += _shapes(shape)
    plain: Document = _undocumented({**model, "operations": kept, "shapes": dict(sorted(shapes.items()))})
    return plain


def _shapes(node: Any) -> Iterator[str]:
    """Yield the names of the shapes that a part of a model refers to."""
    if isinstance(node, list):
        for part in node:
            yield from _shapes(part)
    if isinstance(node, dict):
        for name, part in node.items():
            if name == "shape" and isinstance(part, str):
                yield part
            else:
                yield from _shapes(part)


def _undocumented(node: Any) -> Any:
    if isinstance(node, list):
        return [_undocumented(part) for part in node]
    if isinstance(node, dict):
        # A member may be called so too: it is a map.
        return {
            name: _undocumented(part)
            for name, part in node.items()
            if not (name == "documentation" and isinstance(part, str))
        }
    return node


def _named(documents: Document, names: Any) -> Document:
    return {name: document for name, document in documents.items() if name in names}


def _write(path: Path, document: Document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")))


def main(data: Path) -> None:
    """Put the slimmed data in the place of the whole."""
    slimmed = data.with_name("slimmed")
    slim(Loader([str(data)], include_default_search_paths=False), slimmed)
    shutil.rmtree(data)
    slimmed.rename(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
