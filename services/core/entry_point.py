"""What every container's `python -m services.<name>` does around its work: signals, settings, log, exit code.

Nothing heavy is imported before the first line runs: until then a SIGTERM is lost on process 1 of a container.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from services.core.errors import RequestError, RetryableError, SwathError
from services.core.extras import not_installed

if TYPE_CHECKING:
    from services.core.settings import Settings

#: What hides the others when several are joined: a bug, then what fails every scene, then a refusal, then a delay.
_WORST_FIRST = (1, 78, 65, 75, 0)


def worst_code(codes: Iterable[int]) -> int:
    """The exit code of several things done; 0 of none."""
    return min(codes, key=_WORST_FIRST.index, default=0)


class ArgumentParser(argparse.ArgumentParser):
    """Refuses arguments as the `swath` command does: one sentence, and the exit code of a request without sense."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave."""
        self.exit(RequestError.exit_code, f"swath: {message}; see `{self.prog} --help`\n")


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
