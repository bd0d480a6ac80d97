"""Names of workers, and whether the process behind a name still lives: what gives a killed worker's units back."""

import socket

import psutil

#: Two hosts' clocks do not matter here, but a correction of this host's clock moves every start time a little.
_START_TOLERANCE_S = 2.0


def worker_name() -> str:
    """`host:pid:start_time` of this process; the start time tells it from a later process with the same pid."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def worker_alive(name: str) -> bool | None:
    """Whether the process lives; None: on another host, or not a name of ours, so only its lease can tell.

    A container without a name of its own (host network) shares its host's: its worker may then look dead from
    outside, and a unit of its is computed twice, which is harmless.
    """
    host, _, rest = name.rpartition(":")[0].rpartition(":") if name.count(":") >= 2 else ("", "", "")
    if host != socket.gethostname():
        return None
    try:
        pid, started = int(rest), float(name.rpartition(":")[2])
    except ValueError:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - started) < _START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's process: it exists
        return True
