"""Row of memory: the peak of a whole process on a scene, and on one sixteen times as large."""

from typing import Any

from tests.bench.process import run_child
from tests.bench.rows import Finding, Line, Place
from tests.bench.scenes import Look, write_scene

_MIB = 2**20


def measure_memory(place: Place) -> Finding:
    """Peak resident memory of `run`, 10k² against 40k², and of a segmentation on strips of 10k and 40k columns."""
    side = 2_048 if place.quick else 10_240
    square = _pair(place, "brightness", Look(height=side, width=side, dtype="uint8", compress="zstd"), wider=4)
    height = 512 if place.quick else 1_024
    strip = Look(height=height, width=side, dtype="uint8", compress="zstd")
    strips = _pair(place, place.models["unet-uint8"], strip, wider=4)
    lines = (
        *_lines(f"brightness, {side:,}² to {4 * side:,}²", *square),
        *_lines(f"segmentation, {height:,} x {side:,} to {height:,} x {4 * side:,}", *strips),
    )
    remark = (
        "Memory is VmHWM of the process that runs start_run and complete (interpreter, GDAL, network, ledger and "
        "product included), with as many worker threads as cores; scenes of three bands uint8, ZSTD."
    )
    return Finding(lines=lines, remarks=(remark,))


def _pair(place: Place, model: str, look: Look, *, wider: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A small scene and one `wider` times as wide (and as high, where the small one is square)."""
    tall = wider if look.height == look.width else 1
    large = Look(height=look.height * tall, width=look.width * wider, dtype=look.dtype, compress=look.compress)
    small_run, large_run = (_run(place, model, one) for one in (look, large))
    return small_run, large_run


def _run(place: Place, model: str, look: Look) -> dict[str, Any]:
    scene = write_scene(place.folder / f"memory-{look.height}x{look.width}.tif", look)
    try:
        return run_child(
            "engine", {"scene": scene, "model": model, "home": place.home("memory"), "settings": place.network_settings}
        )
    finally:
        scene.unlink()


def _lines(what: str, small: dict[str, Any], large: dict[str, Any]) -> tuple[Line, Line]:
    ratio = large["peak_bytes"] / small["peak_bytes"]
    each = large["peak_bytes"] / large["workers"]
    figures = [f"{run['peak_bytes'] / _MIB:.0f} MiB ({run['tiles']:,} tiles)" for run in (small, large)]
    return (
        Line(
            what=f"peak memory, {what}",
            must="≤ 1.05",
            measured=f"{ratio:.2f}",
            peer=" to ".join(figures),
            met=ratio <= 1.05,
        ),
        Line(
            what=f"peak memory per worker, {what}",
            must="≤ 700 MB",
            measured=f"{each / 1e6:.0f} MB",
            peer=f"{large['workers']} workers; planned {large['planned_peak_bytes'] / _MIB:.0f} MiB in all",
            met=each <= 700e6,
        ),
    )
