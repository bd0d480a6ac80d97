"""How what was measured is written down: files of a package, and shares in its card."""

import json


def json_bytes(value: object) -> bytes:
    """Sorted and indented, one newline at the end: equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent without the sign; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def ratio(part: int, of: int, digits: int = 4) -> float | None:
    """A share; None of nothing."""
    return round(float(part / of), digits) if of else None
