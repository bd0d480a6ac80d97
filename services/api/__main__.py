"""`python -m services.api`: the container's entry point. Settings from the environment, wiring, exit code."""

import gc
from typing import TYPE_CHECKING

from services.core.entry_point import end_process, run_entry_point

if TYPE_CHECKING:
    from services.core.settings import Settings


def main() -> int:
    """Serve until SIGTERM; the exit code follows the error class."""
    gc.disable()  # what starting makes is kept: looking through it for garbage is a seventh of the time to start
    return run_entry_point(__name__, _serve)


def _serve(settings: "Settings") -> None:
    from services.api.server import serve
    from services.core.site import open_site

    with open_site(settings) as site:
        serve(site)


if __name__ == "__main__":
    end_process(main())
