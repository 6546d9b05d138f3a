"""The functions as `sam build` made them, as programs: their code, the layer and the environment that Lambda gives."""

import json
from pathlib import Path
from typing import Any

from bench.programs import CHILDREN, ROOT, STOCK, Bench, Program, Ran
from fixtures.account import ACCOUNT, MACHINE, MAPPING_TABLE, QUEUE_URL, REGION
from fixtures.state_table import STATE_TABLE
from support import templates

BUILT = ROOT / ".build/bench"
LAYER = BUILT / "RolekeeperLayer"
# Where Lambda has the layers' files.
OPT = "/opt"
NAMES = {
    "MappingTable": MAPPING_TABLE,
    "StateTable": STATE_TABLE,
    "WorkQueue": QUEUE_URL,
    "RetryStateMachine": MACHINE,
    "AlarmTopic": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms",
}


class _Values(dict[str, str]):
    """What references of the template stand for: parameters by their defaults, resources by a name of their own."""

    def __missing__(self, name: str) -> str:
        return f"rolekeeper-{name}"


def function(name: str, events: Path, *flags: str, **parameters: str) -> Program:
    """The function that the template calls so, given the events of a file; `parameters` in place of their defaults."""
    template = templates.load()
    resource, shared = template["Resources"][name]["Properties"], template["Globals"]["Function"]
    defaults = {each: str(said["Default"]) for each, said in template["Parameters"].items()}
    values = _Values(defaults | NAMES | {"Mode": "enforce"} | parameters)
    written = {**shared["Environment"]["Variables"], **_variables(resource)}
    variables = {each: _local(str(templates.filled(said, values))) for each, said in written.items()}
    code, opt = BUILT / name, LAYER / "python"
    if not (code.is_dir() and opt.is_dir()):
        raise RuntimeError("there is no build: start this by make bench")
    lambda_ = {
        "_HANDLER": resource["Handler"],
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(resource.get("MemorySize", shared["MemorySize"])),
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONPATH": f"{code}:{opt}",
        "BENCH_TIMEOUT": str(resource["Timeout"]),
        "BENCH_FUNCTION_ARN": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
    }
    # -P: the folder of the program itself is none that Lambda searches. The SDK is the runtime's.
    return Program(STOCK, ("-P", *flags, str(CHILDREN / "ours.py"), str(events)), {**variables, **lambda_})


def finished(aws: Bench, program: Program, folder: Path, **parameters: str) -> Ran:
    """Run a function, and what it hands on to the machine that goes on with a task; all of it together."""
    runs = [aws.run(program)]
    handed_on = [each for each in aws.calls()["started"] if "task" in each]
    for number, rest in enumerate(handed_on):
        runs.append(aws.run(function("OnSchedule", written(folder, f"rest-{number}", [rest]), **parameters)))
    aws.calls()
    return Ran(sum(each.cpu for each in runs), sum(each.wall for each in runs), max(each.peak for each in runs))


def _variables(resource: Any) -> dict[str, Any]:
    found: dict[str, Any] = resource.get("Environment", {}).get("Variables", {})
    return found


def _local(value: str) -> str:
    """The same, with the layer's files where the build has them."""
    return value.replace(f"{OPT}/", f"{LAYER}/") if value.startswith(f"{OPT}/") else value


def written(folder: Path, name: str, value: Any) -> Path:
    """A file of JSON for a program to read."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value))
    return path
