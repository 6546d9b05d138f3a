"""The whole mapping table as the text of a file."""

from rolekeeper_cli import output
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.files import yaml_form
from rolekeeper_cli.views.row_document import file_row, plain
from rolekeeper_cli.writes.mapping_rows import mapping_rows

# Where `rolekeeper schema > mappings.schema.json` beside the file puts it.
SCHEMA_LINE = "# yaml-language-server: $schema=mappings.schema.json\n"


def exported(deployment: Deployment) -> tuple[str, int]:
    """All rows, sorted, without defaults and without what Rolekeeper wrote into them; and how many there are.

    A row that can't be read is reported, and is in the file as it is.
    """
    rows = []
    for key, row in mapping_rows(deployment).all().items():
        written, problems = file_row(row, deployment.app.home)
        rows.append(written)
        if problems:
            output.warn(f"{key} can't be read, and is in the file as it is: {'; '.join(map(str, problems))}")
    return SCHEMA_LINE + yaml_form.write([{name: plain(each) for name, each in row.items()} for row in rows]), len(rows)
