"""The `swath` command as a process: its streams, and every error as one sentence and an exit code."""

import errno
import os
import sys
from pathlib import Path

import typer

from services.cli.app import app
from services.core.errors import RequestError, SwathError


def _open_streams() -> None:
    """A stream that was closed leads nowhere, and letters that one cannot write are spelled out on it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as we live
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def main() -> None:
    """Run the command; every error of ours becomes one sentence on stderr and its exit code."""
    _open_streams()
    debug = "--debug" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, and not where Python ends and can only complain
    except SwathError as exc:
        if debug:
            raise
        sys.stderr.write(f"swath: {exc}\n")
        code = exc.exit_code
    except typer.TyperException as exc:
        sys.stderr.write(f"swath: {exc.format_message().strip().rstrip('.')}; see `swath --help`\n")
        code = RequestError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("swath: stopped; what is finished is kept\n")
        code = 75
    except OSError as exc:
        if debug or exc.errno != errno.ENOSPC:
            raise
        sys.stderr.write("swath: no space left where the output goes; what is finished is kept\n")
        code = 75
    except Exception as exc:
        if debug:
            raise
        sys.stderr.write(f"swath: a bug of its own, {type(exc).__name__}: {exc}; please report what --debug shows\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
