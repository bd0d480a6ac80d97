"""What people see is what they named, letter by letter."""

import pytest

from services.cli import output

NAMES = ["a[/b]", "[final] out", "[red]x", ":smile:", "[link=http://x]y"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_looks_like_markup_is_printed_as_it_is(name, capsys):
    output.say(f" at {name}", lead=name)
    output.note(f"no {name}")
    output.print_facts({"out": name, name: 1})
    output.print_table(["what", "out"], [[name, name]])
    out, err = capsys.readouterr()
    assert out.count(name) == 6
    assert err == f"no {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_bar_shows_a_name_that_looks_like_markup_as_it_is(name, monkeypatch, capsys):
    monkeypatch.setattr(output.notes, "_force_terminal", True)
    monkeypatch.setattr(output.notes, "_width", 200)
    with output.tile_progress(name, 4) as advance:
        advance(4, 0)
    assert name in capsys.readouterr().err
