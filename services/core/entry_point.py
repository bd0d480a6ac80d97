"""What every container's `python -m services.<name>` does around its work: settings, log, exit code."""

from collections.abc import Callable

from services.core.errors import SwathError
from services.core.log import configure_logging, get_logger
from services.core.settings import Settings, load_settings


def run_entry_point(name: str, work: Callable[[Settings], None]) -> int:
    """Do the work under this installation's settings; the exit code follows the error class.

    Args:
        name: The module's, for the log.
        work: May raise any `SwathError`, which becomes one line of the log.
    """
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        work(settings)
    except SwathError as exc:
        get_logger(name).error("stopped", error=str(exc), kind=type(exc).__name__)  # one sentence
        return exc.exit_code
    return 0
