"""What every container's `python -m services.<name>` does around its work: signals, settings, log, exit code.

Nothing heavy is imported before the first line runs: until then a SIGTERM is lost on process 1 of a container.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from services.core.errors import RetryableError, SwathError

if TYPE_CHECKING:
    from services.core.settings import Settings


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
    except SwathError as exc:
        get_logger(name).error("stopped", error=str(exc), kind=type(exc).__name__)  # one sentence
        return exc.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Asked to stop before anything was begun."""
    sys.exit(RetryableError.exit_code)
