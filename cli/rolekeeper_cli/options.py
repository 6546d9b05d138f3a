"""The options that every command takes, wherever they stand: `rolekeeper --region x mapping ls`, or after `ls`."""

from dataclasses import dataclass

# For people, then for programs.
TABLE, WIDE = "table", "wide"
OUTPUTS = (TABLE, WIDE, "json", "yaml", "csv")


@dataclass(slots=True)
class Options:
    """What was given of them; of an option given twice, the last holds.

    Attributes:
        regions: all that were given where `region` was given last, for a command that works in several.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    stack: str | None = None
    output: str = OUTPUTS[0]
    query: str | None = None
    debug: bool = False
    regions: tuple[str, ...] = ()

    @property
    def for_people(self) -> bool:
        """Whether it is people who read what is shown."""
        return self.output in {TABLE, WIDE} and not self.query
