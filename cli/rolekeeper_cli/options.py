"""The options that every command takes, in any place: `rolekeeper --region x mapping ls`, or after `ls`."""

from dataclasses import dataclass

# For people, then for programs.
TABLE, WIDE = "table", "wide"
OUTPUTS = (TABLE, WIDE, "json")
# A page for a pull request, which few commands have.
MARKDOWN = "markdown"


@dataclass(slots=True)
class Options:
    """The given options; the last value of one that is given twice."""

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    stack: str | None = None
    output: str = OUTPUTS[0]
    query: str | None = None
    debug: bool = False
    # Those of each list.
    sort: str | None = None
    limit: int | None = None
    watch: bool = False
    dry_run: bool = False  # of a command that asks
    detailed_exitcode: bool = False  # of a dry run
    # All values of `--region` in its last place, for a command that works in several Regions.
    regions: tuple[str, ...] = ()

    @property
    def for_people(self) -> bool:
        """Whether people read the output, not programs."""
        return self.output in {TABLE, WIDE} and not self.query
