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


@pytest.mark.parametrize("stdout", ["None", "open('/dev/full', 'w')"])
def test_the_exit_code_does_not_depend_on_who_reads_what_was_said(stdout):
    work = f"sys.stdout = {stdout}; print('stopped'); print('stopped', file=sys.stderr); end_process(75)"
    words = [sys.executable, "-c", f"import sys; from services.core.entry_point import end_process; {work}"]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (75, "stopped\n")
