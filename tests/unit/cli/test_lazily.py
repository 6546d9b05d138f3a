"""Imports whose modules run at their first use."""

import subprocess
import sys

USED = """
import sys
from rolekeeper_cli.lazily import lazily
with lazily():
    from rolekeeper_cli.instance import command as explain
    from rolekeeper_cli.row import files
def ran():
    return ["yaml" in sys.modules, "rolekeeper_cli.instance.view" in sys.modules]
print(ran(), end=" ")
files.dumped({})
print(ran(), end=" ")
from rolekeeper_cli.instance.command import explain as command
print(ran(), command is explain.explain)
"""
OTHERS = """
import sys
from rolekeeper_cli.lazily import lazily
with lazily():
    import yaml
print("yaml.nodes" in sys.modules)
"""


def test_a_module_runs_when_something_of_it_is_used_and_no_other_does() -> None:
    ran = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=True)
    assert ran.stdout == "[False, False] [True, False] [True, True] True\n"


def test_what_is_imported_otherwise_runs_at_once() -> None:
    ran = subprocess.run([sys.executable, "-c", OTHERS], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"
