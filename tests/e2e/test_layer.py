"""What `sam build` makes: code that is compiled, the data that it needs, and nothing that only this machine has."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.loaders import Loader

import slim

pytestmark = pytest.mark.emulator

UNCHECKED_HASH = 0b01  # flags of a .pyc, its second word (PEP 552)
# As Lambda has them: the functions, the layer, the standard library; the runtime's own SDK isn't needed.
START = """
import sys, on_instance_event, on_mapping_change, on_retry, on_schedule, on_state_change, runtime
client = runtime.client("ec2")
assert client.meta.region_name == "us-east-1" and not hasattr(client, "terminate_instances")
print(sys.modules["botocore"].__file__)
"""


@pytest.fixture
def layer(built: Path) -> Path:
    return built / "RolekeeperLayer/python"


def test_everything_is_compiled_and_never_checked_against_its_source(layer: Path) -> None:
    modules = [*layer.rglob("*.py")]
    assert layer / "rolekeeper/app.py" in modules
    for module in modules:
        compiled = Path(importlib.util.cache_from_source(str(module)))
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED_HASH, module
    assert len([*layer.rglob("*.pyc")]) == len(modules), "nothing of a module that is gone"


def test_it_holds_the_data_that_the_tests_compare_with_the_whole(layer: Path, tmp_path: Path) -> None:
    slim.slim(Loader(), tmp_path)
    built = layer / "botocore/data"
    assert {each.relative_to(built): each.read_text() for each in built.rglob("*.json")} == {
        each.relative_to(tmp_path): each.read_text() for each in tmp_path.rglob("*.json")
    }
    assert [each for each in built.rglob("*") if each.is_file() and each.suffix != ".json"] == []


def test_the_functions_start_on_the_layer_alone(built: Path, layer: Path) -> None:
    code = [built / f"On{name}" for name in ("InstanceEvent", "MappingChange", "Retry", "Schedule", "StateChange")]
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, [*code, layer])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "POWERTOOLS_SERVICE_NAME": "rolekeeper",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    line = [sys.executable, "-S", "-c", START]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(layer / "botocore/__init__.py")), done.stderr
