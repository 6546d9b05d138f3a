"""People and another tool at work while everything goes wrong: plain AWS calls, as anybody could make them.

All that is random comes from one seed.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from rolekeeper_local.account import IMAGE, EmulatedAccount
from support.chaos_oracle import Seen

ROLES = ("red", "crimson", "green", "olive", "blue", "navy", "gold", "agent", "base", "ground", "theirs")
# Lies outside the role path: only the other tool can give it.
OUTSIDE = "outsider"
# By tag: the roles that edits go back and forth between, and the other columns.
ROWS: dict[tuple[str, str], tuple[tuple[str, ...], dict[str, Any]]] = {
    ("quarantine", "*"): (("NONE",), {"priority": 1, "when_occupied": "replace"}),
    ("feud", "yes"): (("red",), {"priority": 5, "when_occupied": "replace"}),
    ("color", "red"): (("red", "crimson"), {"priority": 10, "when_occupied": "replace"}),
    ("color", "green"): (("green", "olive"), {"priority": 11}),
    ("color", "blue"): (("blue", "navy"), {"priority": 12}),
    ("tier", "gold"): (("gold",), {"priority": 50, "when_stopped": "swap"}),
    ("agent", "on"): (("agent",), {"priority": 200}),
    ("fleet", "*"): (("base", "ground"), {"priority": 300}),
}
# Edited by people while it goes on; the others stay, as other stories of the same run need them.
EDITED = (("color", "red"), ("color", "green"), ("color", "blue"), ("fleet", "*"))
KEEPERS, STRANGERS, FEUDS = 8, 4, 2
# What AWS answers whoever comes too late or too early: nothing to see here.
TOO_LATE = ("IncorrectInstanceState", "IncorrectState", "InvalidAssociationID.NotFound")


class Story:
    """One fleet and what happens to it.

    `theirs` are the associations that the other tool made, each with its instance; `meddled` counts its changes by
    instance. What it attaches to the `kept` instances stays: their mapping leaves foreign roles, or they have none.
    """

    def __init__(self, world: EmulatedAccount, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.fleet: list[str] = []
        self.theirs: dict[str, str] = {}
        self.meddled: Counter[str] = Counter()
        self.kept: list[str] = []
        self._feuds: list[str] = []
        self._wanderers: list[str] = []
        self._stopped: list[str] = []
        self._quarantined: list[str] = []
        self._roles = dict.fromkeys(ROWS, 0)
        self._gone: set[tuple[str, str]] = set()

    # ---- the beginning ----

    def make_roles(self) -> None:
        for name in (*ROLES, OUTSIDE):
            self.world.make_role(name, path="/" if name == OUTSIDE else "/rolekeeper/")

    def write_rows(self) -> None:
        for key in ROWS:
            self._put(key)

    def launch(self, instances: int) -> None:
        """Launch them all: the special ones first, then those with random tags."""
        for group, number, tags in (
            (self.kept, KEEPERS, {"agent": "on"}),
            (self.kept, STRANGERS, {"plain": "yes"}),
            (self._feuds, FEUDS, {"feud": "yes"}),
        ):
            group += [self._launch(tags) for _ in range(number)]
        while len(self.fleet) < instances:
            self._wanderers.append(self._launch(self._tags()))

    def _launch(self, tags: dict[str, str]) -> str:
        pairs: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
        answer = self.world.ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}]
        )
        self.fleet.append(answer["Instances"][0]["InstanceId"])
        self.done["launched"] += 1
        return self.fleet[-1]

    def _tags(self) -> dict[str, str]:
        """Half of them have the fleet's tag only, so that one edit of its row is too much at once."""
        rng, tags = self.rng, {"fleet": "chaos"}
        if rng.random() < 0.5:
            return tags
        if rng.random() < 0.3:
            del tags["fleet"]
        if rng.random() < 0.7:
            tags["color"] = rng.choice(("red", "green", "blue"))
        if rng.random() < 0.2:
            tags["tier"] = "gold"
        if rng.random() < 0.3:
            tags["agent"] = "on"
        return tags

    # ---- one thing after the other ----

    def act(self) -> None:
        acts: dict[Callable[[], str], int] = {
            self._retag: 40,
            self._untag: 18,
            self._quarantine: 6,
            self._stop: 5,
            self._start: 9,
            self._terminate: 1,
            self._meddle: 6,
            self._feud: 7,
            self._visit: 3,
            self._edit: 6,
            self._tend: 4,
        }
        (chosen,) = self.rng.choices(list(acts), list(acts.values()))
        try:
            self.done[chosen()] += 1
        except ClientError as error:
            if error.response["Error"]["Code"] not in TOO_LATE:
                raise
            self.done["came too late or too early"] += 1

    def _one(self) -> str:
        return self.rng.choice(self._wanderers)

    def _retag(self) -> str:
        key, values = self.rng.choice(
            [
                ("color", ("red", "green", "blue")),
                ("tier", ("gold", "tin")),
                ("agent", ("on", "off")),
                ("fleet", ("x",)),
            ]
        )
        self.world.tag(self._one(), **{key: self.rng.choice(values)})
        return "tagged"

    def _untag(self) -> str:
        self.world.untag(self._one(), self.rng.choice(("color", "tier", "agent", "fleet")))
        return "untagged"

    def _quarantine(self) -> str:
        if not self._quarantined or self.rng.random() < 0.4:
            self._quarantined.append(self._one())
            self.world.tag(self._quarantined[-1], quarantine="yes")
            return "quarantined"
        self.world.untag(self._quarantined.pop(0), "quarantine")
        return "set free"

    def _stop(self) -> str:
        instance = self._one()
        self.world.ec2.stop_instances(InstanceIds=[instance])
        self._stopped.append(instance)
        return "stopped"

    def _start(self) -> str:
        if len(self._stopped) < 3:
            return self._stop()
        instance = self._stopped.pop(0)
        self.world.ec2.start_instances(InstanceIds=[instance])
        return "started"

    def _terminate(self) -> str:
        if len(self._wanderers) * 10 > len(self.fleet) * 8:
            self.world.ec2.terminate_instances(InstanceIds=[self._wanderers.pop()])
        return "terminated"

    # ---- the other tool ----

    def _meddle(self) -> str:
        """On an instance of ours, seldom enough that it is no contest."""
        instance = self._one()
        if self.meddled[instance] >= 2:
            return "left alone by the other tool"
        return self._change(instance, detaches=True)

    def _feud(self) -> str:
        """On the same few, again and again; and its tag there has Rolekeeper look at once."""
        instance = self.rng.choice(self._feuds)
        did = self._change(instance, detaches=False)
        self.world.tag(instance, claimed=str(self.meddled[instance]))
        return did

    def _visit(self) -> str:
        """Where the mapping keeps foreign roles, or where there is none: what is attached here has to stay."""
        instance = self.rng.choice(self.kept)
        # Under the path, only what nothing governs stays.
        profiles = (OUTSIDE,) if self.kept.index(instance) < KEEPERS else ("theirs", OUTSIDE)
        return self._change(instance, detaches=False, profiles=profiles)

    def _change(self, instance: str, *, detaches: bool, profiles: Sequence[str] = ("theirs", OUTSIDE)) -> str:
        ec2, shown = self.world.ec2, self.world.shown(instance)
        profile: Any = {"Name": self.rng.choice(profiles)}
        if shown and detaches and self.rng.random() < 0.4:
            ec2.disassociate_iam_instance_profile(AssociationId=shown.association_id)
            self.meddled[instance] += 1
            return "detached by the other tool"
        if shown:
            made = ec2.replace_iam_instance_profile_association(
                AssociationId=shown.association_id, IamInstanceProfile=profile
            )
        else:
            made = ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile=profile)
        self.theirs[made["IamInstanceProfileAssociation"]["AssociationId"]] = instance
        self.meddled[instance] += 1
        return "attached by the other tool"

    # ---- the mapping table ----

    def _put(self, key: tuple[str, str], **columns: Any) -> None:
        roles, others = ROWS[key]
        self.world.put_mapping(*key, **{"role": roles[self._roles[key]], **others, **columns})
        self._gone.discard(key)

    def _edit(self) -> str:
        key = self.rng.choice(EDITED)
        if key in self._gone:
            self._put(key)
            return "row put back"
        match self.rng.choices(("role", "delete", "disable", "break", "mend"), (5, 1, 1, 1, 2))[0]:
            case "role":
                self._roles[key] = 1 - self._roles[key]
                self._put(key)
                return "row given another role"
            case "delete":
                self.world.delete_mapping(*key)
                self._gone.add(key)
                return "row deleted"
            case "disable":
                self._put(key, enabled=False)
                return "row disabled"
            case "break":
                self._put(key, role="nowhere")
                return "row given a role that isn't there"
            case _:
                self._put(key)
                return "row mended"

    def _tend(self) -> str:
        self.approve()
        return "looked for held rows"

    def approve(self) -> int:
        """Approve whatever is held; how many rows that were."""
        held = [row for row in self.rows() if row.get("status") == "Held"]
        for row in held:
            self.world.approve(row["tag_key"], row["tag_value"])
            self.done["held row approved"] += 1
        return len(held)

    def published(self) -> bool:
        """Whether every row is there and serves as it says."""
        rows = self.rows()
        return len(rows) == len(ROWS) and all(row.get("status") == "Published" for row in rows)

    def mend(self) -> None:
        """Put every row as it is meant, for the end: what is wanted is then what the table says."""
        for key in ROWS:
            self._put(key)

    def rows(self) -> list[dict[str, Any]]:
        keys = [(key, value) for key, value in ROWS if self.world.mapping(key, value)]
        return [self.world.mapping(*key) for key in keys]

    # ---- what EC2 shows ----

    def taken_away(self, seen: Iterable[Seen]) -> list[Seen]:
        """Instances that should have kept what the other tool attached last, and don't carry it."""
        last = {instance: association for association, instance in self.theirs.items() if instance in self.kept}
        return [each for each in seen if each.association != last.get(each.id, each.association)]

    def beyond_the_path(self, seen: Iterable[Seen]) -> list[Seen]:
        """Instances with a role outside the role path that the other tool didn't attach."""
        outside = (each for each in seen if each.profile and ":instance-profile/rolekeeper/" not in each.profile)
        return [each for each in outside if each.association not in self.theirs]

    def seen(self) -> list[Seen]:
        """Every instance that isn't terminated, by EC2's own answer."""
        pages = self.world.ec2.get_paginator("describe_iam_instance_profile_associations").paginate()
        attached = {
            row["InstanceId"]: (row["AssociationId"], row["IamInstanceProfile"]["Arn"])
            for page in pages
            for row in page["IamInstanceProfileAssociations"]
            if row["State"] in ("associating", "associated")
        }
        return [
            Seen(
                row["InstanceId"],
                row["State"]["Name"],
                {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())},
                *attached.get(row["InstanceId"], ()),
            )
            for row in self.world.fleet()
        ]
