"""The `swath` command as a process: its streams, and every error as one sentence and an exit code."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from services.core.errors import RequestError, RetryableError, SwathError
from services.core.extras import not_installed

#: What Typer makes of Ctrl-C.
_INTERRUPTED = 130


def main() -> None:
    """Run the command; every error becomes one sentence on stderr and its exit code, or a traceback with --debug."""
    _open_streams()
    try:
        code = _run()
    except Exception as exc:
        if "--debug" in sys.argv[1:]:
            raise
        sentence, code = _explain(exc)
        _say(sentence)
    except KeyboardInterrupt:
        code = RetryableError.exit_code
        _say("stopped; what is finished is kept")
    sys.exit(code)


def _run() -> int:
    from services.cli.app import app  # here, where Ctrl-C is heard

    try:
        code = app(standalone_mode=False) or 0
    except SystemExit as exc:  # Typer's way with a reader of our output that has gone
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from exc
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    sys.stdout.flush()  # here, and not where Python ends and can only complain
    return int(code)


def _explain(exc: Exception) -> tuple[str | None, int]:
    """What to say of an error, if anything, and the exit code."""
    import typer

    if isinstance(exc, ModuleNotFoundError):
        exc = not_installed(exc) or exc
    if isinstance(exc, SwathError):
        return str(exc), exc.exit_code
    if isinstance(exc, typer.TyperException):
        return f"{exc.format_message().strip().rstrip('.')}; see `swath --help`", RequestError.exit_code
    if isinstance(exc, typer.Abort):
        return "stopped; what is finished is kept", RetryableError.exit_code
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EPIPE):
        _drop_output()
        gone = exc.errno == errno.EPIPE  # as with `| head`: nothing to complain of
        full = "no space left where the output goes; what is finished is kept"
        return None if gone else full, RetryableError.exit_code
    return f"a bug of its own, {type(exc).__name__}: {exc}; please report what --debug shows", 1


def _say(sentence: str | None) -> None:
    with suppress(OSError):  # nobody listens: the exit code still tells
        if sentence is not None:
            sys.stderr.write(f"swath: {sentence}\n")
            sys.stderr.flush()


def _open_streams() -> None:
    """A stream that was closed leads nowhere, and letters that one cannot write are spelled out on it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as we live
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def _drop_output() -> None:
    """Let what is still to be written go nowhere, or Python would try once more at its end."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as we live


if __name__ == "__main__":
    main()
