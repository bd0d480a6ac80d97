"""What every container's `python -m services.<name>` does around its work: signals, settings, log, exit code.

Nothing heavy is imported before the first line runs: until then a SIGTERM is lost on process 1 of a container.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from services.core.errors import RequestError, RetryableError, SwathError
from services.core.extras import not_installed

if TYPE_CHECKING:
    from services.core.settings import Settings

#: What hides the others when several are joined: a bug, then what fails every scene, then a refusal, then a delay.
_WORST_FIRST = (1, 78, 65, 75, 0)

#: A value, never an option of ours; argparse knows it for one only where the whole word is a plain number.
_BELOW_ZERO = re.compile(r"-[\d.]")


def worst_code(codes: Iterable[int]) -> int:
    """The exit code of several things done; 0 of none."""
    return min(codes, key=_WORST_FIRST.index, default=0)


class ArgumentParser(argparse.ArgumentParser):
    """Reads arguments as the `swath` command does, and refuses them so: one sentence, and a code that says no sense."""

    def parse_known_args(  # type: ignore[override]  # without typeshed's overloads by namespace
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """See argparse, whose `parse_args` calls this; an option may have a value such as `-78.8,35.7,-78.6,35.9`."""
        return super().parse_known_args(_joined(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave."""
        self.exit(RequestError.exit_code, f"swath: {message}; see `{self.prog} --help`\n")


def _joined(words: Sequence[str]) -> list[str]:
    """`--option -1,2` as `--option=-1,2`; what comes behind `--` stays as it is."""
    joined: list[str] = []
    for at, word in enumerate(words):
        if word == "--":
            return [*joined, *words[at:]]
        if joined and re.fullmatch("--[^=]+", words[at - 1]) and _BELOW_ZERO.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def run_entry_point(name: str, work: "Callable[[Settings], None]") -> int:
    """Do the work under this installation's settings; the exit code follows the error class.

    Args:
        name: The module's, for the log.
        work: May raise any `SwathError`, which becomes one line of the log.
    """
    before = signal.signal(signal.SIGTERM, _leave)  # the work sets its own as soon as there is something to finish

    from services.core.log import configure_logging, get_logger
    from services.core.settings import load_settings

    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        work(settings)
    except (SwathError, ModuleNotFoundError) as exc:
        error = not_installed(exc) if isinstance(exc, ModuleNotFoundError) else exc
        if error is None:
            raise
        get_logger(name).error("stopped", error=str(error), kind=type(error).__name__)  # one sentence
        return error.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def end_process(code: int) -> NoReturn:
    """Leave now, everything being closed: Python itself would wait for threads that a hanging store holds up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it has gone
            if stream is not None:  # closed from the beginning, as by `>&-`
                stream.flush()
    os._exit(code)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Asked to stop before anything was begun."""
    sys.exit(RetryableError.exit_code)
