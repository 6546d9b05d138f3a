"""Which instances a person wants to see: filters in an address. A bad one says what is wrong, and the rest holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from rolekeeper.model.instance import InstanceState
from rolekeeper.model.mapping import MappingKey
from rolekeeper_cli.arguments import mapping_key, tag_filter
from rolekeeper_cli.console.fleet_rows import FleetRow, Standing
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.suggest import did_you_mean

STATES = tuple(each.value for each in InstanceState if each is not InstanceState.TERMINATED)
CONDITIONS = tuple(each.value for each in Standing)
_TEXTS = ("text", "state", "condition", "role", "account", "region")
# More narrow nothing down, and an address has its length.
_TAGS = 20


@dataclass(frozen=True, slots=True)
class Query:
    """The filters, as they were written; those that are wrong filter nothing.

    Attributes:
        text: a part of its name, or of its id.
        state: an instance's state in EC2, `condition` how it stands.
        tags: tags that it carries, each `KEY` or `KEY=VALUE`.
        role: a profile that it carries or should carry, or `NONE`.
        mapping: the mapping that governs it, as `tag_key=tag_value`.
        account: where it is, with `region`.
        page: from 1 on.
        wrong: what is wrong, by the filter's name.
    """

    text: str = ""
    state: str = ""
    condition: str = ""
    tags: tuple[str, ...] = ()
    role: str = ""
    mapping: str = ""
    account: str = ""
    region: str = ""
    page: int = 1
    wrong: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, params: QueryParams) -> "Query":
        """Read an address."""
        wrong: dict[str, str] = {}
        texts = {name: params.get(name, "").strip() for name in _TEXTS}
        # Their blanks stay: a link names a tag with those that it has.
        tags = tuple(each for each in params.getlist("tag") if each.strip())[:_TAGS]
        mapping = params.get("mapping", "").strip()
        _one_of("state", texts["state"], STATES, wrong=wrong)
        _one_of("condition", texts["condition"], CONDITIONS, wrong=wrong)
        for each in tags:
            _reads("tag", tag_filter, each, wrong=wrong)
        if mapping:
            _reads("mapping", mapping_key, mapping, wrong=wrong)
        page = params.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page[:9]) > 0):
            wrong["page"] = f"{page!r} is no page; this is the first"
            page = "1"
        return cls(**texts, tags=tags, mapping=mapping, page=int(page[:9]), wrong=wrong)

    @property
    def filters(self) -> bool:
        """Whether anything is filtered at all."""
        texts = (self.text, self.state, self.condition, self.role, self.mapping, self.account, self.region)
        return any((*texts, self.tags))

    def passes(self, *, condition: bool = True) -> Callable[[FleetRow], bool]:
        """Says of an instance whether it passes; without the condition's filter, if so asked."""
        tags = [each for each in self.tags if "tag" not in self.wrong or _is_tag(each)]
        tests: list[Callable[[FleetRow], bool]] = [_has(each) for each in tags]
        if self.text:
            text = self.text.casefold()
            tests.append(lambda row: text in row.name.casefold() or text in row.id)
        if self.state and "state" not in self.wrong:
            tests.append(lambda row: row.state == self.state)
        if self.role:
            tests.append(lambda row: self.role in row.roles)
        if self.mapping and "mapping" not in self.wrong:
            tests.append(lambda row: row.mapping == self.mapping)
        if self.account:
            tests.append(lambda row: row.account == self.account)
        if self.region:
            tests.append(lambda row: row.region == self.region)
        if condition and self.condition and "condition" not in self.wrong:
            tests.append(lambda row: row.standing == self.condition)
        return lambda row: all(test(row) for test in tests)

    def address(self, **changes: str | int) -> str:
        """The part of an address behind its `?`, with some of it changed; empty where nothing is asked for."""
        values: dict[str, object] = {
            "text": self.text,
            "state": self.state,
            "condition": self.condition,
            "tag": self.tags,
            "role": self.role,
            "mapping": self.mapping,
            "account": self.account,
            "region": self.region,
            "page": self.page if self.page > 1 else "",
        }
        values |= changes
        if values["page"] == 1:
            values["page"] = ""
        return urlencode({name: value for name, value in values.items() if value not in ("", ())}, doseq=True)


def _meant(text: str) -> set[str]:
    """What a person may have typed: blanks at its ends may be the tag's, or an accident."""
    return {text, text.strip()}


def _has(text: str) -> Callable[[FleetRow], bool]:
    tests = [_carries(tag_filter(each)) for each in _meant(text)]
    return lambda row: any(test(row) for test in tests)


def _carries(tag: MappingKey) -> Callable[[FleetRow], bool]:
    if tag.tag_value == "*":
        return lambda row: any(key == tag.tag_key for key, _ in row.tags)
    pair = tag.tag_key, tag.tag_value
    return lambda row: pair in row.tags


def _one_of(name: str, text: str, words: Sequence[str], wrong: dict[str, str]) -> None:
    if text and text not in words:
        what = "status" if name == "condition" else name
        wrong[name] = f"there is no {what} '{text}'; {did_you_mean(text, words) or 'choose one of the list'}"


def _reads(name: str, read: Callable[[str], object], text: str, wrong: dict[str, str]) -> None:
    try:
        read(text)
    except UsageError as error:
        wrong[name] = f"{error.what}; {error.remedy}"


def _is_tag(text: str) -> bool:
    return bool(text.strip().partition("=")[0])
