"""Every page of the console, in a real browser: without a complaint, a barrier or a bar to scroll by; and on paper."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from playwright.sync_api import Browser, StorageState, expect

from fixtures.browser import NARROW, WIDE, ConsoleProcess, Visitor, axe_is_there, needs_chromium, visitor
from rolekeeper_local.account import EmulatedAccount
from support.new_profiles import launch_with
from support.waiting import eventually

pytestmark = [pytest.mark.emulator, needs_chromium]

# More than an edit may change without approval.
MANY = 26
# A sheet without its margins of 1 cm.
A4 = (718, 1_000)
SIZES = {"small phone": NARROW, "phone": (390, 844), "paper": A4, "laptop": WIDE, "wide": (1_920, 1_080)}
CARDS = {"Mappings", "Roles", "Launches", "Targets", "Mappings that match the same instances"}
# What a press of Tab stops at.
FOCUSABLE = """Array.from(document.querySelectorAll(
    "a[href], button:enabled, input:enabled:not([type=hidden]), select:enabled, textarea, summary, [tabindex='0']"
)).filter(each => each.checkVisibility({visibilityProperty: true}) && each.getClientRects().length)"""
LONG = "x" * 120
# What of axe's rules depends on the size of the window.
SMALL = ("color-contrast", "scrollable-region-focusable", "meta-viewport")
LONG_ROLE = "looks-a-role-with-a-name-as-long-as-iam-lets-it-be-for-payments"

type Pages = Mapping[str, Callable[[Visitor], None]]


@pytest.fixture(scope="module")
def pages(deployed: EmulatedAccount) -> Iterator[Pages]:
    """How each page is opened, by its name, over a fleet that has something of everything."""
    deployed.make_role("looks-node", path="/")
    deployed.make_role("looks-wide")
    deployed.make_role(LONG_ROLE)
    deployed.put_mapping("looks", "long", role=LONG_ROLE)
    long = deployed.launch(f"looks-{LONG_ROLE}", looks="long")
    deployed.put_mapping("looks", "edited", role="s3-read", description=f"As long as it may be: {LONG}", owner="looks")
    deployed.put_mapping("looks", "slip", role="s3-reed")
    good = deployed.launch("looks-good", looks="edited", long=LONG)
    foreign = launch_with(deployed, f"looks-foreign-{LONG}", "looks-node", workload="s3-reader")
    for _ in range(MANY):
        deployed.launch("looks-many", looks="wide")
    deployed.put_mapping("looks", "wide", role="looks-wide")
    eventually(lambda: deployed.mapping("looks", "wide").get("status") == "Held")
    eventually(lambda: deployed.carries(good, "s3-read"))
    eventually(lambda: deployed.carries(long, LONG_ROLE))
    eventually(lambda: deployed.condition(foreign, "occupied"))
    addresses = {
        "fleet": "/",
        "fleet, filtered": "/?q=tag:looks%3Dedited+role:s3-read",
        "fleet, nothing passes": "/?q=role:nothing",
        "instance, foreign": f"/instance/{foreign}",
        "who": f"/instance/{good}/who",
        "no instance": "/instance/i-00000000000000000",
        "mappings": "/mappings",
        "mapping": "/mapping?key=looks&value=edited",
        "mapping, rejected": "/mapping?key=looks&value=slip",
        "mapping, held": "/mapping?key=looks&value=wide",
        "held": "/mapping/held?key=looks&value=wide",
        "edit": "/mapping/edit?key=looks&value=edited",
        "new": "/mapping/new",
        "roles": "/roles",
        "roles, none": "/roles?text=nothing",
        "role": "/role/s3-read",
        "launches, none": "/launches?text=nothing",
        "doctor": "/doctor",
        "targets": "/targets",
        "activity": "/activity",
        "changes": "/activity/changes?at=2026-01-01T00:00:00Z",
        "needs": "/fleet/needs",
        "settings": "/settings",
        "search": "/search?q=looks",
        "search, empty": "/search",
        "pause": f"/settings/switch?what=pause&reason={LONG}",
        "share": f"/share?path=/instance/{good}",
        "no page": "/nothing",
    }
    opens: dict[str, Callable[[Visitor], None]] = {name: partial(_goes, at) for name, at in addresses.items()}
    templates = _templates(deployed)
    opens["launches"] = _unfolds_launches
    opens["instance"] = partial(_opens_with_its_line_of_time, good)
    yield {**opens, "edit, planned": _plans_an_edit, "pin, planned": partial(_plans_a_pin, good)}
    for each in templates:
        deployed.ec2.delete_launch_template(LaunchTemplateName=each)
    # Its name is longer than lists of 80 columns hold, which other modules look at.
    deployed.delete_mapping("looks", "long")
    # Another module looks at what is held.
    deployed.delete_mapping("looks", "wide")
    deployed.iam.remove_role_from_instance_profile(InstanceProfileName=LONG_ROLE, RoleName=LONG_ROLE)
    deployed.iam.delete_instance_profile(InstanceProfileName=LONG_ROLE)
    deployed.iam.delete_role(RoleName=LONG_ROLE)


def _templates(deployed: EmulatedAccount) -> list[str]:
    """Launch templates of several verdicts, by their names; one is as long as EC2 lets it be."""
    born = {"looks-foreign": "looks-node", "looks-right": "s3-read", "looks-replaced": "s3-write", f"{LONG}-of-128": ""}
    for name, profile in born.items():
        deployed.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={
                "IamInstanceProfile": {"Name": profile} if profile else {},
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "looks", "Value": "edited"}]}],
            },
        )
    return list(born)


def _unfolds_launches(person: Visitor) -> None:
    person.goes("/launches")
    for each in person.page.get_by_text("What to do about").all():
        each.click()


def _goes(address: str, person: Visitor) -> None:
    person.goes(address)


def _opens_with_its_line_of_time(instance: str, person: Visitor) -> None:
    person.goes(f"/instance/{instance}")
    expect(person.page.get_by_role("group", name="The roles on a line of time")).to_be_visible()


def _plans_an_edit(person: Visitor) -> None:
    person.goes("/mapping/edit?key=looks&value=edited")
    person.fills("Role", "s3-write")
    person.presses("Plan it")
    person.sees("What happens to instances")


def _plans_a_pin(instance: str, person: Visitor) -> None:
    person.goes(f"/instance/{instance}")
    person.presses("Show what it would do", person.unfolds("Detach"))
    person.sees("→ no role")


@pytest.mark.skipif(not axe_is_there(), reason=".envs/node isn't set up: make .envs/node/done")
def test_axe_would_find_one(person: Visitor) -> None:
    person.goes("/")
    person.page.evaluate("document.querySelector('main').append(Object.assign(new Image(), {src: '/static/icon.svg'}))")
    assert [each.partition(" ")[0] for each in person.barriers()] == ["image-alt"]


def test_no_page_has_a_barrier_a_bar_to_scroll_by_or_a_control_that_no_key_reaches(
    person: Visitor, pages: Pages
) -> None:
    """Axe may be missing where `make` set nothing up."""
    found = {}
    for name, opens in pages.items():
        opens(person)
        found[name] = [*_too_wide(person), *_unreached(person)]
        if axe_is_there():
            found[name] += person.barriers()
            person.page.emulate_media(color_scheme="dark")
            found[name] += [f"dark: {each}" for each in person.barriers("color-contrast")]
            person.page.emulate_media(color_scheme="light")
            person.page.set_viewport_size({"width": SIZES["phone"][0], "height": SIZES["phone"][1]})
            found[name] += [f"phone: {each}" for each in person.barriers(*SMALL)]
            person.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    person.expects("404")
    assert {name: each for name, each in found.items() if each} == {}


def _unreached(person: Visitor) -> list[str]:
    """What no press of Tab stops at, and where the stop isn't seen."""
    controls = person.page.evaluate(f"""() => {{
        window.controls = {FOCUSABLE}
        window.stops = new Set(), window.unseen = []
        document.addEventListener("focusin", ({{target}}) => {{
            stops.add(target)
            if (getComputedStyle(target).outlineStyle === "none") unseen.push(target.outerHTML.slice(0, 120))
        }})
        return controls.length
    }}""")
    missed: list[str] = []
    # A page that is renewed meanwhile may begin again.
    for _ in range(2):
        for _ in range(controls + 2):
            person.page.keyboard.press("Tab")
        missed = person.page.evaluate(
            "[...controls.filter(each => each.isConnected && !stops.has(each))"
            ".map(each => each.outerHTML.slice(0, 120)), ...unseen.map(each => `not seen: ${each}`)]"
        )
        if not missed:
            break
    return missed


def test_a_group_of_a_plan_opens_in_place_and_is_searched(person: Visitor, pages: Pages) -> None:
    pages["held"](person)
    person.page.evaluate("window.mark = true")
    group = person.page.locator("details.moves").filter(has_text=str(MANY))
    group.locator("summary").click()
    expect(group.get_by_role("listitem")).to_have_count(MANY)
    assert not (axe_is_there() and person.barriers())
    search = group.get_by_role("searchbox")
    search.press_sequentially("no such")
    expect(group.get_by_role("listitem")).to_have_count(0)
    expect(search).to_be_focused()
    assert person.page.evaluate("window.mark"), "the page wasn't loaded again"


def test_a_key_edits_or_reviews_the_mapping_of_the_row(person: Visitor, pages: Pages) -> None:
    for key, leads in {"e": "edit", "r": "held"}.items():
        pages["mappings"](person)
        person.page.get_by_role("link", name="looks=wide", exact=True).focus()
        person.page.keyboard.press(key)
        person.arrives(f"**/mapping/{leads}?key=looks&value=wide*")


@pytest.mark.usefixtures("pages")
def test_the_rows_of_the_fleet_are_of_one_height_and_its_head_stays_in_sight(person: Visitor) -> None:
    person.goes("/?text=looks-many")
    rows = person.page.locator("#rows tr")
    expect(rows).to_have_count(MANY)
    for width, height in (SIZES["laptop"], SIZES["wide"]):
        person.page.set_viewport_size({"width": width, "height": height})
        heights: list[float] = rows.evaluate_all("rows => rows.map(each => each.getBoundingClientRect().height)")
        assert max(heights) - min(heights) <= 1, "none has a line more than the others"
    rows.last.scroll_into_view_if_needed()
    expect(person.page.get_by_role("columnheader", name="Reason")).to_be_in_viewport()


def _too_wide(person: Visitor) -> list[str]:
    """By how much in each size; of a laptop and a wide screen, each table is looked at too; of a phone, each card."""
    found = []
    for name, (width, height) in SIZES.items():
        person.page.set_viewport_size({"width": width, "height": height})
        person.page.emulate_media(media="print" if name == "paper" else "screen")
        found += [f"{name}: {pixels} pixels" for pixels in [person.overflow()] if pixels]
        cards = CARDS if "phone" in name else ()
        found += [f"{name}: {each}" for each in _scrolled(person) if width >= WIDE[0] or each in cards]
    person.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    return found


def _scrolled(person: Visitor) -> list[str]:
    """The tables that are wider than their place."""
    labels: list[str] = person.page.evaluate(
        "Array.from(document.querySelectorAll('.scroll')).filter(each => each.scrollWidth > each.clientWidth)"
        ".map(each => each.getAttribute('aria-label'))"
    )
    return labels


def test_on_a_phone_why_a_list_is_empty_is_in_sight(
    browser: Browser, writing: ConsoleProcess, entered: StorageState, pages: Pages
) -> None:
    with visitor(browser, entered, "empty-360", base_url=writing.origin, size=NARROW) as person:
        pages["fleet, nothing passes"](person)
        box = person.page.locator(".empty").bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= NARROW[0]


def test_on_paper_there_is_what_one_reads_in_black_and_no_button(
    person: Visitor, deployed: EmulatedAccount, pages: Pages
) -> None:
    pages["instance"](person)
    person.page.emulate_media(media="print")
    expect(person.page.get_by_role("navigation", name="Sections")).to_be_hidden()
    for each in person.page.locator("button, .button").all():
        expect(each).to_be_hidden()
    expect(person.page.get_by_text("Acts as")).to_be_visible()
    expect(person.page.get_by_text(deployed.account, exact=True).first).to_be_visible()
    expect(person.page.get_by_role("heading", name="Timeline")).to_be_visible()
    assert person.page.evaluate("getComputedStyle(document.querySelector('main')).color") == "rgb(0, 0, 0)"
    assert person.page.pdf().startswith(b"%PDF-")
