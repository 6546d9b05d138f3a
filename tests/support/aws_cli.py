"""Run the AWS CLI's lines of a page of the docs, as far as they need it: a stand-in for the program `aws`."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import jmespath


def run_lines(lines: str, folder: Path, env: Mapping[str, str], **variables: str) -> str:
    """Run a page's shell lines, with the variables that it names; returns what they print."""
    program = folder / "aws"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    program.chmod(0o700)
    path = f"{folder}:{os.environ['PATH']}"
    asked = ["bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(asked, env={**env, **variables, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main(service: str, operation: str, *options: str) -> None:
    """Call one operation; print its answer, of a query as tab-separated text if asked."""
    consistent = "--consistent-read" in options
    pairs = [each for each in options if each != "--consistent-read"]
    given = dict(zip(pairs[::2], pairs[1::2], strict=True))
    query, output = given.pop("--query", "@"), given.pop("--output", "json")
    asked: dict[str, Any] = {
        "".join(each.title() for each in name[2:].split("-")): value for name, value in given.items()
    }
    asked = {name: json.loads(value) if value.startswith("{") else value for name, value in asked.items()}
    if consistent:
        asked["ConsistentRead"] = True
    client: Any = boto3.client(service)  # type: ignore[call-overload]  # by its name
    answer = getattr(client, operation.replace("-", "_"))(**asked)
    found = jmespath.search(query, answer)
    print("\t".join(map(str, found)) if output == "text" else json.dumps(found, default=str))  # noqa: T201  # its output


if __name__ == "__main__":
    main(*sys.argv[1:])
