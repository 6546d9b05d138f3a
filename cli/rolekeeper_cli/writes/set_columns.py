"""`mapping set`: a row with some columns changed, read as every row is."""

from collections.abc import Sequence

from rolekeeper.mappings.rows.cells import CellError, HomeAccount
from rolekeeper.mappings.rows.columns import COLUMNS, Attributes
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model.mapping import MappingKey, MappingSpec
from rolekeeper.model.problem import Problem
from rolekeeper.storage import codec
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.files.text_cells import from_text
from rolekeeper_cli.suggest import did_you_mean

_BY_NAME = {column.name: column for column in COLUMNS}


class UnreadableRowError(UsageError):
    """The row couldn't be read if it said that: `column` is the first one with a problem, empty where none has one."""

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        super().__init__("; ".join(map(str, problems)), remedy)
        self.column = problems[0].column


def edited(key: MappingKey, row: Attributes, assignments: Sequence[str], home: HomeAccount) -> MappingSpec:
    """The mapping that a row says after `column=value` each.

    Raises:
        UsageError: a column is unknown, or the row couldn't be read then.
    """
    if not assignments:
        raise UsageError("no column is given", "give some as column=value, like role=web")
    after = {**row, **codec.to_attributes(codec.encode(key))}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in _BY_NAME or not equals:
            raise _no_column(assignment, name)
        if not text:
            after.pop(name, None)
            continue
        try:
            after[name] = from_text(_BY_NAME[name], text)
        except CellError as error:
            raise UnreadableRowError([Problem(str(error), column=name)], "nothing was written") from error
    verdict = read_row(after, home)
    if verdict.spec is None:
        raise UnreadableRowError(verdict.problems, "nothing was written; fix it and try again")
    return verdict.spec


def _no_column(assignment: str, name: str) -> UsageError:
    meant = did_you_mean(name, _BY_NAME)
    columns = f"the columns are {', '.join(_BY_NAME)}; what each is for: rolekeeper schema COLUMN"
    return UsageError(f"{assignment!r} sets no column", f"{meant} {columns}".lstrip())
