"""What is wrong, and what to do about it, as values: who shows them makes the text, and nobody takes one apart."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with something. `remedy` says what to do; `column` is the one of a mapping row that it is about."""

    what: str
    remedy: str = ""
    column: str = ""

    def __str__(self) -> str:
        text = f"{self.what}; {self.remedy}" if self.remedy else self.what
        return f"{self.column}: {text}" if self.column else text
