"""`python -m services.api`: the container's entry point. Settings from the environment, wiring, exit code."""

import gc
import sys

from services.core.errors import SwathError
from services.core.log import configure_logging, get_logger
from services.core.settings import load_settings


def main() -> int:
    """Serve until SIGTERM; the exit code follows the error class."""
    gc.disable()  # what starting makes is kept: looking through it for garbage is a seventh of the time to start
    log = get_logger(__name__)
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        from services.api.server import serve
        from services.core.site import open_site

        with open_site(settings) as site:
            serve(site)
    except SwathError as exc:
        log.error("stopped", error=str(exc), kind=type(exc).__name__)  # noqa: TRY400  # one sentence, not a traceback
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
