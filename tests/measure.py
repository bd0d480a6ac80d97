"""`python -m tests.measure WORDS`: run `swath WORDS` and print, on the last line, the most memory it ever held."""

import json
import re
from pathlib import Path

from services.cli.__main__ import main


def peak_bytes() -> int:
    """Of this program alone: `ru_maxrss` would tell the parent's size if that was larger when it forked."""
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) * 1024


if __name__ == "__main__":
    try:
        main()
    finally:
        print(json.dumps({"peak_bytes": peak_bytes()}))
