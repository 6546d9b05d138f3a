"""What the command says, on a page: sentences, and links to pages in place of commands that the pages do."""

import pytest

from rolekeeper_cli.console.words import linked, sentence, without_commands


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


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("what ends that: rolekeeper resume", 'what ends that: <a href="/settings">resume it in Settings</a>'),
        ("rolekeeper mode enforce", '<a href="/settings">Set the mode to enforce in Settings</a>'),
        ("set it: rolekeeper mode, pause or resume", 'set it: <a href="/settings">Settings</a>'),
        ("see why: rolekeeper explain i-0abc.", 'see why: <a href="/instance/i-0abc">the page of i-0abc</a>.'),
        (
            "to approve it: rolekeeper mapping approve app=web --revision 2; others wait",
            'to approve it: <a href="/mapping/held?key=app&amp;value=web">the plan of app=web</a>; others wait',
        ),
        (
            "see: rolekeeper mapping get 'app=a b'",
            'see: <a href="/mapping?key=app&amp;value=a+b">the page of app=a b</a>',
        ),
        ("see: rolekeeper mapping ls", 'see: <a href="/mappings">Mappings</a>'),
        (
            "roles keep them, 2 of 3 (occupied says how many; explain says what to do)",
            "roles keep them, 2 of 3 (the page of each says what to do)",
        ),
        ("what is seen: rolekeeper targets.", 'what is seen: <a href="/targets">Targets</a>.'),
        # What no page does stays to be typed.
        ("rolekeeper targets forget 111111111111/eu-west-1", "rolekeeper targets forget 111111111111/eu-west-1"),
        ("rolekeeper sweep", "rolekeeper sweep"),
        ("rolekeeper mapping import rows.yaml", "rolekeeper mapping import rows.yaml"),
        ("a tag <b>says</b> rolekeeper", "a tag &lt;b&gt;says&lt;/b&gt; rolekeeper"),
        ("rolekeeper mapping get 'a=<b>'", '<a href="/mapping?key=a&amp;value=%3Cb%3E">The page of a=&lt;b&gt;</a>'),
        # What a person wrote may look like a command that isn't one.
        ("rolekeeper mapping get 'a=b", "rolekeeper mapping get &#39;a=b"),
        ('rolekeeper mapping get a="b', "rolekeeper mapping get a=&#34;b"),
    ],
)
def test_a_command_that_a_page_does_is_a_link_to_it(text: str, markup: str) -> None:
    assert linked(text) == markup


def test_what_the_buttons_of_a_held_edit_do_isnt_said_as_a_command() -> None:
    held = (
        "deleting it would detach 30; to delete it: rolekeeper mapping approve a=b --revision 2; "
        "to keep it: rolekeeper mapping discard a=b; the row is kept"
    )
    assert without_commands(held) == "deleting it would detach 30; the row is kept"
