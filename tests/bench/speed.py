"""Rows of speed: a network over a scene against its limit and TorchGeo; the threshold job against tile files."""

from pathlib import Path
from typing import Any

from tests.bench.process import best, interleaved, run_child
from tests.bench.rows import Finding, Line, Place, joined, missed, pinned
from tests.bench.scenes import MEAN, STD, Look, write_scene

_CACHES_MB = (32, 64, 256)
_TORCHGEO = "TorchGeo"


def measure_network(place: Place) -> Finding:
    """Scene to ResNet-18 predictions, in floats and in 8 bit integers."""
    return joined(_measure_network(place, backend) for backend in (place.backend, "openvino:int8"))


def _measure_network(place: Place, backend: str) -> Finding:
    """Product and all, against 1 / (1 / forward + 1 / decode) and TorchGeo."""
    scene, model = str(_scene(place, "uint16")), place.models["resnet-uint16"]
    found = interleaved(
        min(place.rounds, 2),
        decode=lambda: run_child("decode", {"scene": scene, "caches_mb": _CACHES_MB}),
        forward=lambda: run_child("forward", {"scene": scene, "model": model, "backend": backend}),
        engine=lambda: _run(place, scene, model, backend),
        **_torchgeo(place, scene, model, backend),
    )
    ours, forward, decode = (best(found[name]) for name in ("engine", "forward", "decode"))
    limit = 1 / (1 / forward + 1 / decode)
    run, network = _fastest(found["engine"]), _fastest(found["forward"])
    what = f"ResNet-18 ({backend}) at 256 px over {_pixels(place)} uint16 DEFLATE"
    lines = [
        Line(
            what=f"{what}: of the limit 1/(1/forward + 1/decode)",
            must="≥ 0.95",
            measured=f"{ours / limit:.2f} ({ours:.1f} tiles/s)",
            peer=f"limit {limit:.1f}: forward {forward:.1f}, decode {decode:.0f} tiles/s",
            met=ours / limit >= 0.95,
        )
    ]
    lines += _torchgeo_lines(found, ours, backend)
    seconds = ", ".join(f"{name.replace('_', ' ')} {spent:.2f} s" for name, spent in run["seconds"].items())
    return Finding(
        lines=tuple(lines),
        remarks=(
            f"Network: {run['backend']}, {run['workers']} workers. One run: {seconds}.",
            "Tiles/s are over compute and publish; what comes before is the start of a process.",
            f"Limit: forward by {network['setting']}; decode by {_fastest(found['decode'])['setting']}.",
            f"Settings of forward tried for a second each, tiles/s: {_rates(network['rates'])}.",
            *_torchgeo_remarks(found, limit, backend),
        ),
    )


def measure_threshold(place: Place) -> Finding:
    """Brightness over a scene, product and all, against tile files read twice."""
    tiles = 64 if place.quick else 301
    lines = tuple(line for dtype in ("uint16", "uint8") for line in _threshold_lines(place, dtype, tiles))
    remark = (
        "The reference pipeline (ThomasLeMontagner/satellite-ml-pipeline) is reimplemented in peer_tiles.py, "
        "sequential as there, but without its bug of giving each tile file the scene's height and without its standard "
        f"deviation, both in its favour; measured on the first {tiles} tiles. It publishes no map, so the first of "
        "each pair of rows leaves ours out."
    )
    return Finding(lines=lines, remarks=(remark,))


def _threshold_lines(place: Place, dtype: str, tiles: int) -> tuple[Line, Line]:
    scene = str(_scene(place, dtype))
    wish = {"scene": scene, "scratch": place.folder, "tiles": tiles, "deviation": False}
    found = interleaved(
        place.rounds,
        engine=lambda: _run(place, scene, "brightness", place.backend),
        files=lambda: run_child("peer_tiles", wish),
        decode=lambda: run_child("decode", {"scene": scene, "caches_mb": _CACHES_MB}),
    )
    run = max(found["engine"], key=lambda one: one["tiles"] / one["seconds"]["compute"])
    computed, whole, files = run["tiles"] / run["seconds"]["compute"], best(found["engine"]), best(found["files"])
    reading = best(found["decode"]) / files
    what = f"cut tiles + threshold over {_pixels(place)} {dtype} DEFLATE: times as fast as tile files"
    return (
        Line(
            what=what,
            must="≥ 10",
            measured=f"{computed / files:.1f} ({computed:.0f} tiles/s)",
            peer=f"reference pipeline {files:.0f} tiles/s; reading the pixels and nothing else: {reading:.1f}",
            met=computed / files >= 10,
        ),
        Line(
            what=f"{what}, with the map published",
            must="-",
            measured=f"{whole / files:.1f} ({whole:.0f} tiles/s; publish {run['seconds']['publish']:.2f} s)",
            peer="the reference pipeline publishes none",
            met=whole >= files,
        ),
    )


def _run(place: Place, scene: str, model: str, backend: str) -> dict[str, Any]:
    wish = {"scene": scene, "model": model, "home": place.home("speed"), "settings": pinned(backend)}
    return run_child("engine", wish)


def _torchgeo(place: Place, scene: str, model: str, backend: str) -> dict[str, Any]:
    """TorchGeo's two measures, where it is installed."""
    if place.peer_python is None:
        return {}
    python = place.peer_python
    wish = {"scene": scene, "model": model, "mean": MEAN["uint16"], "std": STD["uint16"], "workers": (0, 2)}
    return {
        "same": lambda: run_child("peer_torchgeo", {**wish, "backend": backend}, python=python),
        "eager": lambda: run_child("peer_torchgeo", {**wish, "backend": "torch:fp32"}, python=python),
    }


def _torchgeo_lines(found: dict[str, list[dict[str, Any]]], ours: float, backend: str) -> list[Line]:
    lines = []
    for name, must, behind in (("same", 2, f"the same {backend}"), ("eager", 10, "torch eager fp32")):
        what = f"the same ({backend}), times as fast as {_TORCHGEO} with {behind}"
        if name not in found:
            lines.append(missed(what, f"≥ {must}", f"{_TORCHGEO} is not installed (make bench installs it)"))
            continue
        theirs, peer = best(found[name]), _fastest(found[name])
        lines.append(
            Line(
                what=what,
                must=f"≥ {must}",
                measured=f"{ours / theirs:.1f}",
                peer=f"{theirs:.1f} tiles/s ({peer['version']}, {peer['setting']})",
                met=ours / theirs >= must,
            )
        )
    return lines


def _torchgeo_remarks(found: dict[str, list[dict[str, Any]]], limit: float, backend: str) -> tuple[str, ...]:
    if "same" not in found:
        return ()
    same, eager = best(found["same"]), best(found["eager"])
    told = (
        f"{_TORCHGEO} with the same {backend} is at {same / limit:.2f} of the limit itself: twice as fast would be "
        f"{2 * same:.0f} tiles/s and ten times its eager fp32 {10 * eager:.0f}, where network and decoding allow "
        f"{limit:.0f} on this machine."
    )
    return (told,)


def _scene(place: Place, dtype: str) -> Path:
    if dtype not in place.scenes:
        look = Look(height=place.side_px, width=place.side_px, dtype=dtype)
        # TorchGeo opens every raster of a folder: each scene gets its own.
        (place.folder / dtype).mkdir()
        place.scenes[dtype] = write_scene(place.folder / dtype / "scene.tif", look)
    return place.scenes[dtype]


def _pixels(place: Place) -> str:
    return f"{place.side_px:,}²"


def _fastest(found: list[dict[str, Any]]) -> dict[str, Any]:
    return max(found, key=lambda one: float(one["tiles_per_s"]))


def _rates(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
