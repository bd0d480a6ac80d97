"""JSON that every reader takes: it has no NaN and no infinity, so these cross as the catalog writes them."""

import json
import math
from typing import Any


def json_line(value: Any, **options: Any) -> str:
    """`json.dumps`, with the strings "NaN", "Infinity" and "-Infinity" where a number is none, as `Record` has them."""
    return json.dumps(_told(value), allow_nan=False, **options)


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {_told(key): _told(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
