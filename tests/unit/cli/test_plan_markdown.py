"""plan --output markdown: a page for a pull request's comment."""

from pathlib import Path

import pytest

from fixtures.mappings import MappingsFixture, mapping_file
from fixtures.terminal import Terminal

pytestmark = pytest.mark.usefixtures("web_and_db")


def test_a_plan_as_a_whole_page(terminal: Terminal, desk: MappingsFixture, tmp_path: Path) -> None:
    desk.grant("web", "s3:GetObject", "arn:aws:s3:::reports/*")
    desk.grant("db", "rds:Connect")
    first, second, third = desk.three_carry("web", "app=web")
    terminal.one_change_passes()
    rows = ("tag_key: app, tag_value: web, role: db, priority: 5", "tag_key: new, tag_value: '*', role: wen")
    file = mapping_file(tmp_path, *rows)
    ran = terminal("plan", "-f", file, "-o", "markdown")
    assert ran.exit_code == 3, ran.output
    assert (
        ran.stdout
        == f"""\
<!-- rolekeeper plan -->
### Rolekeeper plan: 2 mappings edited, 3 of 3 instances would change; 1 to fix, 1 to approve

#### Not in effect as written (1)

- `new=*` would be **Rejected**: `role 'wen' doesn't exist in account 123456789012; create it under the path \
/rolekeeper/, or correct the name; did you mean 'web'?`

#### Need approval (1)

Once it is written, each of these waits until a person approves it who isn't its author, with the command or on its \
page in `rolekeeper console`. The plan counts them as approved.

- `app=web`: `it would attach 0, replace 3 and detach 0 instances (3 of 3; 1 may change without approval) (revision 1 \
stays in effect)`; to approve it, by another person than who made this plan: `rolekeeper mapping approve app=web`

#### Mappings (2)

| mapping | change | instances | result |
| --- | --- | --- | --- |
| `app=web` | role: `web` → `db`<br>priority: `100` → `5` | 3 replace | **Held** |
| `new=*` | new<br>role: `wen` |  | **Rejected** |

#### Accounts (1)

| account | attach | replace | detach | waiting | blocked | change | of |
| --- | --- | --- | --- | --- | --- | --- | --- |
| `123456789012` | 0 | 3 | 0 | 0 | 0 | 3 | 3 |

#### Other permissions (1)

- `web` → `db` on 3 instances in account `123456789012`
  - gained: `rds:Connect on *`
  - lost: `s3:GetObject on arn:aws:s3:::reports/*`

<details><summary>Instances (3)</summary>

| action | instance | name | from | to | reason |
| --- | --- | --- | --- | --- | --- |
| replace | `{first}` |  | `web` | `db` | `app=web gives it role db` |
| replace | `{second}` |  | `web` | `db` | `app=web gives it role db` |
| replace | `{third}` |  | `web` | `db` | `app=web gives it role db` |

</details>
"""
    )


# ---- where it is an output ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fleet", "-o", "markdown"), "'markdown' is not one of 'table', 'wide', 'json', 'yaml', 'csv'"),
        (("-o", "markdown", "fleet"), "rolekeeper fleet has no output markdown it has table, wide, json, yaml, csv"),
        (("-o", "markdown", "mapping", "ls"), "rolekeeper mapping ls has no output markdown"),
        (("plan", "-o", "markdown", "--query", "summary"), "--query can't be used with --output markdown"),
    ],
)
def test_other_commands_and_queries_refuse_it(terminal: Terminal, words: tuple[str, ...], message: str) -> None:
    ran = terminal(*words)
    assert (ran.exit_code, ran.stdout) == (252, "")
    assert message in " ".join(ran.stderr.split()), ran.stderr


def test_it_may_be_named_before_the_command(terminal: Terminal) -> None:
    ran = terminal("-o", "markdown", "plan")
    assert (ran.exit_code, ran.stdout) == (0, "<!-- rolekeeper plan -->\n### Rolekeeper plan: nothing changes\n")
