"""`swath keys`: made, listed and revoked from the command line."""

import pytest


def test_a_key_is_shown_once_and_never_listed(swath):
    made = swath("keys", "create", "dashboard", "--expires", "90d", "--json")
    listed = swath("keys", "list", "--json")
    assert made.code == 0
    assert made.json["key"].startswith(f"swath_{made.json['id']}_")
    assert made.json["key"].split("_", 2)[2] not in listed.out + swath("keys", "list").out
    assert [key["name"] for key in listed.json["keys"]] == ["dashboard"]


def test_the_key_alone_is_on_stdout(swath):
    made = swath("keys", "create", "dashboard")
    (line,) = made.out.splitlines()
    assert line.startswith("swath_")
    assert "not shown again" in " ".join(made.err.split())


def test_a_revoked_key_is_listed_as_such(swath):
    made = swath("keys", "create", "[bold]dashboard[/bold]", "--json")
    assert swath("keys", "revoke", made.json["id"]).code == 0
    listed = swath("keys", "list").out
    assert "revoked" in listed
    assert "[bold]dashboard" in listed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "x", "--expires", "soon"), "--expires"),
        (("create", "x", "--expires", "0d"), "--expires"),
        (("create", ""), "name"),
        (("revoke", "nosuch"), "nosuch"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(swath, words, said):
    answer = swath("keys", *words)
    assert (answer.code, said in answer.sentence) == (65, True)


@pytest.mark.parametrize("command", ["keys create", "keys list", "keys revoke"])
def test_every_help_shows_an_example(swath, command):
    assert f"Example: swath {command}" in " ".join(swath(*command.split(), "--help").out.split())
