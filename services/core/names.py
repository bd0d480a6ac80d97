"""Names that outlive a process: run ids and object keys. Pure, and the only place that spells them."""

import hashlib
import os.path
import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from services.core.errors import RequestError

_RUN_ID = re.compile(r"r-\d{8}T\d{6}-[0-9a-f]{6}")


def make_run_id(created_at: datetime, noise: bytes) -> str:
    """`r-20260102T030405-a1b2c3`: sorts by the second it was made in (UTC), and two of one second still differ.

    Args:
        created_at: Aware, in any zone.
        noise: Three random bytes.
    """
    assert created_at.tzinfo is not None, "a run id needs an aware time"
    assert len(noise) == 3, "a run id ends in three bytes"
    return f"r-{created_at.astimezone(UTC):%Y%m%dT%H%M%S}-{noise.hex()}"


def parse_run_id(text: str) -> str:
    """The run id itself: it becomes part of a path, so nothing else may.

    Raises:
        RequestError: Not a run id.
    """
    if not _RUN_ID.fullmatch(text):
        raise RequestError(f"{text[:60]!r} is not a run id such as r-20260102T030405-a1b2c3; see `swath runs`")
    return text


def unit_object_key(key: str, sha256: str) -> str:
    """Where a finished unit's bytes are kept; 256 folders, so that no listing grows without bound."""
    return f"units/{key[:2]}/{key}-{sha256[:16]}.npz"


def unit_result_key(key: str, sha256: str, *, masked: int) -> str:
    """Under which name a unit's result is recorded: its own, for any later run to find, only if no tile is masked.

    What hid a tile may have passed, so a later run asks again; and what it then gets must not take the place of what
    this run's map was made from.
    """
    return hashlib.sha256(f"{key} {sha256}".encode()).hexdigest() if masked else key


def model_key(digest: str, file: str) -> str:
    """One file of a kept model package."""
    return f"models/{digest}/{file}"


def scene_key(digest: str, file: str) -> str:
    """One file the tiler made of the scene with this digest."""
    return f"scenes/{digest[:2]}/{digest}/{file}"


def prepared_key(digest: str) -> str:
    """The record of a scene's analysis-ready version; written last, so it is there only when its files are."""
    return scene_key(digest, "scene.json")


def scene_cog_key(digest: str) -> str:
    """The scene's bands as one cloud-optimised GeoTIFF."""
    return scene_key(digest, "scene.tif")


def tile_index_key(digest: str, tile_px: int) -> str:
    """Footprints of the scene's tiles of one size."""
    return scene_key(digest, f"tiles-{tile_px}.parquet")


def product_key(run_id: str, file: str) -> str:
    """One file of a product, below the run's `out`."""
    return f"{parse_run_id(run_id)}/{file}"


def absolute(place: str) -> str:
    """A path as it is found from any folder, `..` and all resolved by name; URIs stay as they are."""
    return place if "://" in place else os.path.abspath(place)  # noqa: PTH100  # resolve() would follow links


def public_href(href: str) -> str:
    """A path or URI without what may open it: password, query (signed URLs) and fragment."""
    if "://" not in href or href.startswith("s3://"):
        return href
    try:
        parts = urlsplit(href)
    except ValueError:  # no address: cut where a query or a password could stand
        return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", href, maxsplit=1)[0])
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def slug(text: str) -> str:
    """Lower-case letters, digits and single hyphens, at most 63: fit for Kubernetes labels and STAC class names."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].strip("-") or "x"
