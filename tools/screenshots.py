"""Takes the pictures of the console that the docs show, over a small fleet on an embedded AWS: `screenshots FOLDER`."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from fixtures.browser import Visitor, chromium, console, enter, visitor
from rolekeeper_local.account import EmulatedAccount, starter_mappings
from rolekeeper_local.embedded import EmbeddedAws
from support.new_profiles import launch_with
from support.waiting import eventually

PORT = 4577  # beside an embedded AWS that may run
SIZE = (1_280, 800)
MOST_BYTES = 150_000  # of one picture: a clone fetches them all

type Opens = Callable[[Visitor], object]


class Fleet:
    """Instances in each condition that a page can show."""

    def __init__(self, world: EmulatedAccount) -> None:
        self.world = world
        world.deploy_starter_roles()
        world.make_role("node-role", path="/")
        world.seed_mappings()
        for row in starter_mappings():
            eventually(lambda row=row: world.mapping_status(row["tag_key"], row["tag_value"], "Published"))  # type: ignore[misc]  # bound at once
        self.readers = [self.carries(f"reports-{number}", "s3-read", workload="s3-reader") for number in range(1, 6)]
        for number in range(1, 4):
            self.carries(f"orders-{number}", "dynamodb-app", workload="dynamodb-app")
        self.carries("ingest-1", "s3-write", workload="s3-writer")
        launch_with(world, "node-1", "node-role", workload="s3-reader")
        world.launch("bastion")
        self.waits()
        self.moves()
        world.sweep()
        self.drifts()

    def carries(self, name: str, role: str, **tags: str) -> str:
        """One that carries its role."""
        made = self.world.launch(name, **tags)
        eventually(lambda: self.world.carries(made, role))
        return made

    def waits(self) -> None:
        """One that is stopped, and gets another role when it starts."""
        made = self.carries("nightly", "s3-read", workload="s3-reader")
        self.world.ec2.stop_instances(InstanceIds=[made])
        eventually(lambda: self.world.state(made) == "stopped")
        self.world.tag(made, workload="s3-writer")

    def drifts(self) -> None:
        """One whose event was lost, until the next sweep."""
        made = self.world.launch("ingest-2")
        eventually(lambda: self.world.state(made) == "running")
        self.world.aws.drop_events(made)
        self.world.tag(made, workload="s3-writer")

    def moves(self) -> None:
        """One with a history."""
        self.moved = self.carries("reports-6", "s3-write", workload="s3-writer")
        self.world.tag(self.moved, workload="s3-reader")
        eventually(lambda: self.world.carries(self.moved, "s3-read"))


def whole_fleet(person: Visitor) -> None:
    """The fleet, once it is read, and what happened to it."""
    person.goes("/")
    expect(person.page.get_by_text("Read in full")).to_be_visible()
    expect(person.page.locator("#activity svg")).to_be_visible()


def plan(person: Visitor) -> None:
    """The plan of an edit."""
    person.goes("/mapping/edit?key=workload&value=s3-reader")
    person.fills("Role", "s3-write")
    person.presses("Plan it")
    person.sees("What happens to instances")


def shoot(person: Visitor, opens: Opens, file: Path) -> None:
    """Open a page, and take its picture; a ValueError if it is too large."""
    opens(person)
    # Parts of the page are loaded after it.
    person.page.wait_for_load_state("networkidle")
    # A page has few colours; the shades at the edges of its letters may go.
    taken = Image.open(io.BytesIO(person.page.screenshot())).convert("RGB")
    taken.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{file} has {size:,} bytes, more than {MOST_BYTES:,}")
    print(f"{file}: {size:,} bytes")


def main(folder: Path) -> None:
    """Take them all."""
    with EmbeddedAws(port=PORT, progress=print) as aws:
        aws.deploy()
        fleet = Fleet(EmulatedAccount(aws))
        pictures: tuple[tuple[str, str, Opens], ...] = (
            ("console-fleet", "light", whole_fleet),
            ("console-fleet-dark", "dark", whole_fleet),
            ("console-instance", "light", lambda person: person.goes(f"/instance/{fleet.moved}")),
            ("console-edit", "light", plan),
        )
        with chromium() as browser, console(aws.env, "--write") as process:
            with visitor(browser) as first:
                state = enter(first, process)
            for name, scheme, opens in pictures:
                with visitor(browser, state, base_url=process.origin, size=SIZE, color_scheme=scheme) as person:
                    shoot(person, opens, folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
