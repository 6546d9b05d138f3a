"""What one account answers where a row is judged, and where that is kept if a run of its own asks there.

One run can't ask hundreds of accounts. So each account's answers are an item, and the run that judges the row reads
them in place of asking; a refusal is an answer too.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError, CorruptItemError
from rolekeeper.mappings.impact import Conflict, Impact, Moment, Scan
from rolekeeper.model.instance import Action
from rolekeeper.permissions.comparison import Gain
from rolekeeper.permissions.roles import RoleCheck
from rolekeeper.storage import Store, layout

KEPT = timedelta(days=1)
# The most bytes of one account's answers: an item has at most 400 KB (DynamoDB "Service quotas").
MOST = 350_000
_COUNTS, _CHANGES = ("matched", "published_matched", "foreign"), ("attach", "replace", "detach", "only_later", "seen")


@dataclass(frozen=True, slots=True)
class AccountVerdict:
    """What one account answered about an edit: IAM, and EC2 in each of its Regions, by name.

    Attributes:
        stamp: what was asked (`RowSnapshot.stamp`): with another one, these are no answers.
        refusal: of IAM. Else `check` is of the row's role; out of the scope there is none.
        scans: what was found, or in `refused` why not; `sizes` are the instances where some would change.
        gains: the permissions that come and go with the edit, for each move from a role to another.
    """

    stamp: str = ""
    refusal: AwsRefusalError | None = None
    check: RoleCheck | None = None
    refused: Mapping[str, AwsRefusalError] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    gains: tuple[Gain, ...] = ()
    scans: Mapping[str, Scan] = field(default_factory=dict)

    def refusal_in(self, region: str) -> AwsRefusalError | None:
        """Return why the target in this Region gave no answer, if it gave none."""
        return self.refusal or self.refused.get(region)

    def without_scans(self) -> "AccountVerdict":
        """Return the same as if EC2 had been asked only how many instances there are."""
        return replace(self, scans={}, refused={}, gains=())

    def beside(self, found: "AccountVerdict | None", regions: Iterable[str]) -> "AccountVerdict":
        """Return the same with what a run of its own found in the account's other Regions, if it found something."""
        other = found or silent()
        if other.refusal:
            other = replace(other, refused=dict.fromkeys(regions, other.refusal))
        return replace(
            self,
            refused={**self.refused, **other.refused},
            sizes={**self.sizes, **other.sizes},
            gains=(*self.gains, *other.gains),
            scans={**self.scans, **other.scans},
        )

    def to_bytes(self) -> bytes:
        document = {
            "stamp": self.stamp,
            "refusal": _refusal(self.refusal) if self.refusal else None,
            "check": layout.encode(self.check) if self.check else None,
            "refused": {region: _refusal(error) for region, error in self.refused.items()},
            "sizes": dict(self.sizes),
            "gains": [layout.encode(gain) for gain in self.gains],
            "scans": {region: _scan_document(scan) for region, scan in self.scans.items()},
        }
        return zlib.compress(json.dumps(document).encode())

    @classmethod
    def from_bytes(cls, stored: bytes) -> "AccountVerdict":
        document = json.loads(zlib.decompress(stored))
        refusal, check = document["refusal"], document["check"]
        return cls(
            document["stamp"],
            AwsRefusalError(**refusal) if refusal else None,
            layout.decode(RoleCheck, check) if check else None,
            {region: AwsRefusalError(**error) for region, error in document["refused"].items()},
            sizes=document["sizes"],
            gains=tuple(layout.decode(Gain, gain) for gain in document["gains"]),
            scans={region: _scan_from(scan) for region, scan in document["scans"].items()},
        )


def silent(code: str = "TimedOut", action: str = "lambda:InvokeFunction") -> AccountVerdict:
    """Return the verdict of an account whose run ended without a word."""
    return AccountVerdict(refusal=AwsRefusalError(code, "", action))


@dataclass(frozen=True)
class Findings:
    """The answers while a row is judged: an item for each account, which expires."""

    store: Store

    def write(self, run: str, account: str, verdict: AccountVerdict, at: datetime) -> None:
        """Write them; those that are too many for an item as no answer."""
        found = verdict.to_bytes()
        if len(found) > MOST:
            found = replace(silent("TooLarge", "dynamodb:PutItem"), stamp=verdict.stamp).to_bytes()
        key = layout.key_attributes(layout.finding_key(run, account))
        self.store.write(self.store.put({**key, "found": found, "expires": int((at + KEPT).timestamp())}))

    def read(self, run: str) -> dict[str, AccountVerdict]:
        """Return the answers by account."""
        pk, _ = layout.finding_key(run, "")
        found: dict[str, AccountVerdict] = {}
        for item in self.store.items(pk, "~"):
            # One that can't be read is no answer.
            with suppress(CorruptItemError, zlib.error):
                found[item["sk"]] = self.store.decode(
                    lambda item: AccountVerdict.from_bytes(bytes(item["found"])), item
                )
        return found


def _scan_document(scan: Scan) -> dict[str, Any]:
    impact = scan.impact
    return {
        "counts": {name: getattr(scan, name) for name in _COUNTS},
        "impact": {name: getattr(impact, name) for name in _CHANGES},
        "conflicts": [layout.encode(conflict) for conflict in scan.conflicts.values()],
        "nodes": sorted(scan.nodes),
        "profile_ids": sorted(scan.profile_ids),
        "later": [[layout.encode(moment), counts] for moment, counts in impact.later.items()],
        "moves": [[*move, count] for move, count in impact.moves.items()],
    }


def _scan_from(document: Mapping[str, Any]) -> Scan:
    moves = Counter({(was, to): count for was, to, count in document["moves"]})
    impact = Impact(**document["impact"], moves=moves)
    for moment, counts in document["later"]:
        impact.later[layout.decode(Moment, moment)] = Counter({Action(name): count for name, count in counts.items()})
    scan = Scan(**document["counts"], nodes=set(document["nodes"]), impact=impact)
    scan.profile_ids |= set(document["profile_ids"])
    for conflict in (layout.decode(Conflict, found) for found in document["conflicts"]):
        scan.conflicts[conflict.other.key] = conflict
    return scan


def _refusal(error: AwsRefusalError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "action": error.action, "resource": error.resource}
