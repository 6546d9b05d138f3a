"""What the command says, on a page: sentences, and links to pages in place of commands that the pages do."""

import pytest

from rolekeeper.mappings.verdict import approval_steps
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Advice, Kind, Remedy, advice, typed
from rolekeeper_cli.console.page import held_reason, linked, sentence, without_steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("it carries no role", "It carries no role."),
        ("nothing changes: it is paused", "Nothing changes: it is paused."),
        ("really?", "Really?"),
        ("i-0abc is stopped", "i-0abc is stopped."),
        ("workload=web asks for it", "workload=web asks for it."),
        ("s3-read can't be given.", "s3-read can't be given."),
        ("priority: is '0'", "priority: is '0'."),
        ("ec2:RunInstances is refused", "ec2:RunInstances is refused."),
    ],
)
def test_a_sentence_has_a_capital_unless_it_begins_with_a_name(text: str, said: str) -> None:
    assert sentence(text) == said
    assert str(sentence(advice(text))) == said


SAYS_RESUME = '<a href="/settings">resume it in Settings</a>'


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        (advice("what ends that: ", Remedy(Kind.RESUME)), f"what ends that: {SAYS_RESUME}"),
        (sentence(advice("what ends that: ", Remedy(Kind.RESUME))), f"What ends that: {SAYS_RESUME}."),
        (Remedy(Kind.ENFORCE), '<a href="/settings">Set the mode to enforce in Settings</a>'),
        (Remedy(Kind.EXPLAIN, ("i-0abc",)), '<a href="/instance/i-0abc">The page of i-0abc</a>'),
        (
            advice("to approve it: ", Remedy(Kind.APPROVE, ("app", "web", "2")), "; others wait"),
            'to approve it: <a href="/mapping/held?key=app&amp;value=web">the plan of app=web</a>; others wait',
        ),
        (
            advice("see: ", Remedy(Kind.MAPPING, ("app", "a b"))),
            'see: <a href="/mapping?key=app&amp;value=a+b">the page of app=a b</a>',
        ),
        (Remedy(Kind.MAPPING, ("a", "<b>")), '<a href="/mapping?key=a&amp;value=%3Cb%3E">The page of a=&lt;b&gt;</a>'),
        # What no page does stays to be typed.
        (Remedy(Kind.EXPLAIN, ("1/eu-west-1/i-0abc",)), "<code>rolekeeper explain 1/eu-west-1/i-0abc</code>"),
        (
            advice("see why: ", typed("aws logs tail '<x>'"), "; then: ", typed("make deploy")),
            "see why: <code>aws logs tail &#39;&lt;x&gt;&#39;</code>; then: <code>make deploy</code>",
        ),
        # What a person wrote is no step, whatever it looks like.
        ("a tag <b>says</b> rolekeeper mapping ls", "a tag &lt;b&gt;says&lt;/b&gt; rolekeeper mapping ls"),
    ],
)
def test_a_step_that_a_page_takes_is_a_link_to_it(text: str | Remedy | Advice, markup: str) -> None:
    assert linked(text) == markup


@pytest.mark.parametrize(("deletes", "count"), [(False, 1), (True, 2)])
def test_what_a_held_edit_was_stored_with_is_a_link_or_left_to_the_buttons(*, deletes: bool, count: int) -> None:
    key = MappingKey("app", "a <b>")
    steps = approval_steps(key, 2, deletes=deletes)
    held = "; ".join(["it would detach 30", *map(str, steps), "the row is kept"])
    assert without_steps(held, key, 2) == "it would detach 30; the row is kept"
    drawn = held_reason(held, key, 2)
    assert drawn.count('<a href="/mapping/held?key=app&amp;value=a+%3Cb%3E">') == count
    assert "rolekeeper" not in drawn
