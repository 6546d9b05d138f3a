"""What the README and the operators' page tell people to type is typed here, and EC2 is asked what came of it.

Blocks marked `bash` run as they stand, one after the other, in one shell's memory.
"""

import json
from pathlib import Path

import pytest

from rolekeeper.model.mapping import MappingKey
from rolekeeper.storage import layout
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws
from support.pages import PASTED, ROOT, Shell, bash_blocks, blocks
from support.waiting import eventually

pytestmark = pytest.mark.emulator


def test_the_first_five_minutes_come_true(aws: EmbeddedAws, shell: Shell) -> None:
    launch, ask, retag, untag, edit = bash_blocks("README.md")
    world, shell = EmulatedAccount(aws), shell.at_a_terminal("bracketed", "README.md")

    shell(launch)
    instance = shell('echo "$instance"').strip()
    first = eventually(lambda: world.carries(instance, "web"))
    told = shell(ask)
    assert first.association_id in told
    assert '"Published"' in told

    shell(retag)
    second = eventually(lambda: world.carries(instance, "batch"))
    assert second.association_id != first.association_id

    shell(untag)
    eventually(lambda: world.shown(instance) is None)

    told = shell(edit)
    assert "Mapping Rejected" in told
    assert "role: batch → web" in told
    served = world.mapping("app", "web")
    assert (served["status"], served["role"]) == ("Published", "web")
    # As the lab cleans up.
    clean = bash_blocks("docs/lab.md")[-1].partition("\n")[2]
    shell(clean.replace("reader writer", "web batch").replace("job=", "app="))


FILES = {
    "template.yaml": "Parameters: {Stage: {Type: String}}\nResources: {}",
    "mappings.yaml": "mappings: []",
    "change.plan": '{"format_version": "1.2", "planned_values": {"root_module": {}}, "resource_changes": []}',
}


@pytest.mark.parametrize("pasted", PASTED)
def test_what_a_file_will_launch_can_be_pasted(tmp_path: Path, pasted: str) -> None:
    """No AWS is there to be asked; what Terraform shows of a plan is in its file."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    shell = Shell(tmp_path, 0, tmp_path).at_a_terminal(pasted, "docs/adopting.md")
    shell(f'export PATH="{ROOT / ".venv/bin"}:$PATH"; terraform() {{ cat "${{@:$#}}"; }}')
    [block] = blocks("docs/adopting.md")
    assert shell(block).count("The files launch no instances.") == 2


def test_the_operators_page_can_be_typed(deployed: EmulatedAccount, shell: Shell) -> None:
    """Its placeholders are an instance and a mapping that are there; the control item is as deployed in the end."""
    instance = deployed.launch("operations", workload="s3-reader")
    eventually(lambda: deployed.carries(instance, "s3-read"))
    deployed.tag(instance, workload="nobody-maps-this")
    eventually(lambda: deployed.shown(instance) is None)
    names, control, sweep, history, mapping = bash_blocks("docs/operations.md")

    export = bash_blocks("README.md")[0].split("\n\n")[0]
    shell(export + "\n" + names.replace("i-0123456789abcdef0", instance))
    assert '"paused"' in shell(control)
    pk, sk = layout.CONTROL
    left = deployed.dynamodb.get_item(
        TableName=deployed.state_table, Key=layout.to_attributes({"pk": pk, "sk": sk}), ConsistentRead=True
    )
    assert "Item" not in left
    assert '"StatusCode": 202' in shell(sweep)
    newest, *_ = json.loads(shell(history))
    assert (newest["action"], newest["mapping"]) == ("Detach", "workload=s3-reader")
    web, reader = (layout.mapping_pk(MappingKey("workload", value)) for value in ("web", "s3-reader"))
    assert web in mapping
    published, *_ = json.loads(shell(mapping.replace(web, reader)))
    assert published["event"].startswith("Mapping ")


def test_every_section_of_the_runbook_can_be_typed(deployed: EmulatedAccount, shell: Shell) -> None:
    """What a section says to look at answers, with the names that docs/operations.md begins with."""
    instance = deployed.launch("runbook", workload="s3-reader")
    eventually(lambda: deployed.carries(instance, "s3-read"))
    export = bash_blocks("README.md")[0].split("\n\n")[0]
    names = bash_blocks("docs/operations.md")[0].replace("i-0123456789abcdef0", instance)
    shell(f"{export}\n{names}")
    blocks = bash_blocks("docs/runbook.md")
    assert len(blocks) >= 18, "nearly each section has something to look at"
    for block in blocks:
        # Version 1 of the AWS CLI heeds AWS_ENDPOINT_URL in everything but `sqs` (docs/local.md).
        shell(block.replace("aws sqs", 'aws --endpoint-url "$AWS_ENDPOINT_URL" sqs'))
