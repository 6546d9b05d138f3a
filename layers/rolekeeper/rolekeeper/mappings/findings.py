"""What judging a row asks of one account, asked there by a run of its own: the answers, and where they are kept.

One run can't ask hundreds of accounts. So each account's answers are an item, and the run that judges the row reads
them in place of asking; a refusal is an answer too.
"""

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, CorruptItemError
from rolekeeper.mappings.impact import Conflict, Impact, Moment, Scan
from rolekeeper.model.instance import Action
from rolekeeper.permissions.policies import Gain
from rolekeeper.permissions.roles import RoleCheck
from rolekeeper.storage import Store, layout

KEPT = timedelta(days=1)
# The most bytes of one account's answers: an item has at most 400 KB (DynamoDB "Service quotas").
MOST = 350_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target gave no answer: what an `AwsRefusalError` says."""

    code: str
    message: str = ""
    action: str = ""
    resource: str = ""

    @classmethod
    def of(cls, error: AwsRefusalError) -> "Refusal":
        return cls(error.code, error.message, error.action, error.resource)

    @property
    def error(self) -> AwsRefusalError:
        return AwsRefusalError(self.code, self.message, self.action, resource=self.resource)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answers of one account: of IAM, and of each of its Regions, by name.

    Attributes:
        stamp: what was asked (`RowSnapshot.stamp`): with another one, these are no answers.
        refusal: of IAM. Else `check` is of the row's role, and `published_check` of the one that is published.
        scans: what was found, or in `refused` why not; `sizes` are the instances where some would change.
        gains: the severe permissions that come with the edit, for each move from a role to another.
    """

    stamp: str = ""
    refusal: Refusal | None = None
    check: RoleCheck | None = None
    published_check: RoleCheck | None = None
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    gains: tuple[Gain, ...] = ()
    scans: Mapping[str, Scan] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        scans = {region: _scan_document(each) for region, each in self.scans.items()}
        document = layout.encode(replace(self, scans={}, gains=())) | {"scans": scans}
        document["gains"] = [layout.encode(each) for each in self.gains]
        return zlib.compress(json.dumps(document).encode())

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Finding":
        document = json.loads(zlib.decompress(stored))
        scans = document.pop("scans")
        return replace(layout.decode(cls, document), scans={region: _scan_from(each) for region, each in scans.items()})


# Of an account whose run ended without a word.
SILENT = Finding(refusal=Refusal("TimedOut", action="lambda:InvokeFunction"))


@dataclass(frozen=True)
class Findings:
    """The answers while a row is judged: an item for each account, which expires."""

    store: Store

    def write(self, run: str, account: str, finding: Finding, at: datetime) -> None:
        """Write them; those that are too many for an item as no answer."""
        found = finding.to_bytes()
        if len(found) > MOST:
            why = Refusal("TooLarge", action="dynamodb:PutItem")
            regions = {*finding.scans, *finding.refused}
            found = Finding(finding.stamp, why, refused=dict.fromkeys(regions, why)).to_bytes()
        key = layout.key_attributes(layout.finding_key(run, account))
        self.store.write(self.store.put({**key, "found": found, "expires": int((at + KEPT).timestamp())}))

    def read(self, run: str) -> dict[str, Finding]:
        """By account."""
        pk, _ = layout.finding_key(run, "")
        found: dict[str, Finding] = {}
        for item in self.store.items(pk, "~"):
            # One that can't be read is no answer.
            with suppress(CorruptItemError, zlib.error):
                found[item["sk"]] = self.store.decode(lambda item: Finding.from_bytes(bytes(item["found"])), item)
        return found


def _scan_document(scan: Scan) -> dict[str, Any]:
    impact = scan.impact
    return {
        "counts": [scan.matched, scan.published_matched, scan.foreign],
        "conflicts": [layout.encode(each) for each in scan.conflicts.values()],
        "nodes": sorted(scan.nodes),
        "profile_ids": sorted(scan.profile_ids),
        "impact": [impact.attach, impact.replace, impact.detach, impact.only_later, impact.seen],
        "later": [[layout.encode(moment), counts] for moment, counts in impact.later.items()],
        "moves": [[*move, count] for move, count in impact.moves.items()],
    }


def _scan_from(document: Mapping[str, Any]) -> Scan:
    matched, published_matched, foreign = document["counts"]
    attach, replaced, detach, only_later, seen = document["impact"]
    impact = Impact(
        attach,
        replaced,
        detach,
        later={
            layout.decode(Moment, moment): Counter({Action(name): count for name, count in counts.items()})
            for moment, counts in document["later"]
        },
        only_later=only_later,
        seen=seen,
        moves=Counter({(was, to): count for was, to, count in document["moves"]}),
    )
    scan = Scan(matched, published_matched, foreign=foreign, nodes=set(document["nodes"]), impact=impact)
    scan.profile_ids |= set(document["profile_ids"])
    for conflict in (layout.decode(Conflict, each) for each in document["conflicts"]):
        scan.conflicts[conflict.other.key] = conflict
    return scan
