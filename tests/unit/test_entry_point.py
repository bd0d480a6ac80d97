"""Exit codes: of arguments that make no sense, and of several things done one after another."""

import subprocess
import sys

import pytest

from services.core.entry_point import ArgumentParser, worst_code


@pytest.mark.parametrize(
    ("codes", "worst"),
    [((), 0), ((0, 0), 0), ((0, 75, 0), 75), ((75, 65), 65), ((65, 78), 78), ((75, 65, 78, 1, 0), 1)],
)
def test_the_worst_of_several_exit_codes_hides_the_others(codes, worst):
    assert worst_code(codes) == worst_code(reversed(codes)) == worst


@pytest.mark.parametrize("words", [[], ["step"], ["step", "--count", "many"], ["nonsense"]])
def test_arguments_that_make_no_sense_are_refused_in_one_sentence(words, capsys):
    parser = ArgumentParser(prog="python -m it")
    step = parser.add_subparsers(required=True).add_parser("step")
    step.add_argument("--count", type=int, required=True)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 65
    assert line.startswith("swath: ")
    assert "see `python -m it" in line


BOX = "-78.8,35.7,-78.6,35.9"


@pytest.mark.parametrize(
    ("words", "box", "scenes"),
    [
        (["--bbox", BOX, "a.tif"], BOX, ["a.tif"]),
        (["a.tif", f"--bbox={BOX}"], BOX, ["a.tif"]),
        (["a.tif", "--bbox", "-.5,0,1,1"], "-.5,0,1,1", ["a.tif"]),
        (["--bbox", BOX, "--", "--bbox", "-1.tif"], BOX, ["--bbox", "-1.tif"]),
    ],
)
def test_an_option_takes_a_value_that_begins_with_a_minus(words, box, scenes):
    parser = ArgumentParser(prog="python -m it")
    step = parser.add_subparsers(required=True).add_parser("step")
    step.add_argument("scenes", nargs="+")
    step.add_argument("--bbox")
    args = parser.parse_args(["step", *words])
    assert (args.bbox, args.scenes) == (box, scenes)


@pytest.mark.parametrize("stdout", ["None", "open('/dev/full', 'w')"])
def test_the_exit_code_does_not_depend_on_who_reads_what_was_said(stdout):
    work = f"sys.stdout = {stdout}; print('stopped'); print('stopped', file=sys.stderr); end_process(75)"
    words = [sys.executable, "-c", f"import sys; from services.core.entry_point import end_process; {work}"]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (75, "stopped\n")
