"""Rows of the online service: requests a second beside FastAPI with torch and LitServe, and a minute without error."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.core.model.package import INT8_GRAPH
from tests.bench.api_servers import Server, fastapi_server, litserve_server, our_server
from tests.bench.images import KINDS, eurosat_zip, write_requests
from tests.bench.process import BenchError, best, interleaved
from tests.bench.rows import Finding, Line, Place, missed

_CLIENTS = 64
_WHAT = f"/predict, 64 px JPEG, {_CLIENTS} clients"
#: FastAPI + torch by name, and torch's threads for each call; None: as many as it likes.
_TORCH = {"torch": None, "torch with one thread": 1}
#: Images that are sent in turn.
_IMAGES = 200
#: For wrk: one request after another from a folder; what it counted comes back as one line of JSON.
_SCRIPT = """
local requests, at = {{}}, 0
wrk.headers["Content-Type"] = "{kind}"
function init()
  for index = 0, {count} - 1 do
    local file = io.open("{folder}/" .. index .. ".{suffix}", "rb")
    requests[index] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end
function request()
  at = (at + 1) % {count}
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  print(string.format('{{"requests":%d,"seconds":%f,"refused":%d,"lost":%d,"p50_ms":%f,"p99_ms":%f}}',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def measure_api(place: Place) -> Finding:
    """Ours against FastAPI + torch with raw bodies, and against LitServe with forms, which is all that it takes."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise BenchError("wrk is not installed; run: apt-get install wrk")
    model = Path(place.models["tiles"])
    write_requests(place.folder / "requests", count=_IMAGES)
    raw, form = (_script(place.folder, suffix) for suffix in ("jpg", "form"))
    span_s = 3 if place.quick else 15
    backend = place.network_settings["backend"]
    precision = "int8" if (model / INT8_GRAPH).is_file() else "fp32"  # what `auto` takes, too
    ours = our_server(model, place.home("api"), backend=backend, precision=precision)
    plain = our_server(model, place.home("api"), backend=backend, precision="fp32")
    peers = {name: fastapi_server(model, place.home("fastapi"), threads=each) for name, each in _TORCH.items()}
    if place.peer_python is not None and _has_litserve(place.peer_python):
        peers["litserve"] = litserve_server(model, place.home("litserve"), place.peer_python)
    found = interleaved(
        min(place.rounds, 2),
        raw=_round(wrk, ours, raw, span_s),
        form=_round(wrk, ours, form, span_s),
        fp32=_round(wrk, plain, raw, span_s),
        **{name: _round(wrk, peer, form if name == "litserve" else raw, span_s) for name, peer in peers.items()},
    )
    minute = _round(wrk, ours, raw, 3 if place.quick else 60)()
    lines = (_against_torch(found), _against_litserve(found), p99_line(found["raw"], minute), _errors(minute))
    rates = ", ".join(f"{name} {best(each, 'per_s'):.0f}" for name, each in found.items())
    return Finding(
        lines=lines,
        remarks=(
            f"Service: requests/s of the best round, {span_s} s each: {rates}.",
            _precisions(found, f"{backend}:{precision}"),
            _remark(ours),
        ),
    )


def _torch_rate(found: dict[str, list[dict[str, Any]]]) -> float:
    """With as many threads a call as torch likes, or with one: the better counts."""
    return max(best(found[name], "per_s") for name in _TORCH)


def _precisions(found: dict[str, list[dict[str, Any]]], ours: str) -> str:
    times = best(found["fp32"], "per_s") / _torch_rate(found)
    return (
        f"Service: raw and form are ours as a user gets it, {ours}; both peers run the same network in torch, in fp32. "
        f"Ours told to compute in fp32 (fp32, raw bodies) is {times:.1f} times as fast as FastAPI + torch, which was "
        "tried with torch's own number of threads for each call and with one; the better counts."
    )


def _against_torch(found: dict[str, list[dict[str, Any]]]) -> Line:
    ours, theirs = best(found["raw"], "per_s"), _torch_rate(found)
    return Line(
        what=f"{_WHAT}: times as fast as FastAPI + torch, one image a call, same network",
        must="≥ 10",
        measured=f"{ours / theirs:.1f} ({ours:.0f} requests/s)",
        peer=f"{theirs:.0f} requests/s",
        met=ours / theirs >= 10,
    )


def _against_litserve(found: dict[str, list[dict[str, Any]]]) -> Line:
    what, must = f"{_WHAT}: times as fast as LitServe with batching, same network", "≥ 3"
    if "litserve" not in found:
        return missed(what, must, "LitServe is not installed (make bench installs it)")
    ours, theirs = best(found["form"], "per_s"), best(found["litserve"], "per_s")
    return Line(
        what=what,
        must=must,
        measured=f"{ours / theirs:.1f} ({ours:.0f} requests/s, as forms)",
        peer=f"{theirs:.0f} requests/s",
        met=ours / theirs >= 3,
    )


def p99_line(rounds: list[dict[str, Any]], minute: dict[str, Any]) -> Line:
    """The minute decides, in which errors are counted too; the rounds before it are only told."""
    each = ", ".join(f"{one['p99_ms']:.0f}" for one in rounds)
    return Line(
        what=f"{_WHAT}: p99 of {minute['seconds']:.0f} s",
        must="≤ 80 ms",
        measured=f"{minute['p99_ms']:.0f} ms (median {minute['p50_ms']:.0f} ms)",
        peer=f"of the rounds before: {each} ms",
        met=minute["p99_ms"] <= 80,
    )


def _errors(minute: dict[str, Any]) -> Line:
    errors = minute["refused"] + minute["lost"]
    return Line(
        what=f"{_WHAT}: errors in {minute['seconds']:.0f} s",
        must="0",
        measured=f"{errors} of {minute['requests']} requests",
        peer="",
        met=errors == 0 and minute["seconds"] >= 59,
    )


def _remark(ours: Server) -> str:
    kind = "drawn" if eurosat_zip() is None else "real"
    return (
        f"Service: {_IMAGES} {kind} images in turn, sent by wrk with one thread on the same cores; every "
        "server alone on the machine in its turn, without an access log; ours gave its first answer "
        f"{ours.first_answer_s:.1f} s after its process began. LitServe takes no raw bodies, so it and ours are "
        "compared by forms."
    )


def _round(wrk: str, server: Server, script: Path, span_s: int) -> Callable[[], dict[str, Any]]:
    """Start the server, warm it for a second, measure, and end it."""

    def measure() -> dict[str, Any]:
        with server.running() as url:
            _wrk(wrk, url, script, 2)
            found = _wrk(wrk, url, script, span_s)
        if not found["per_s"]:
            raise BenchError(f"{server.words[2]} answered no request well")
        return found

    return measure


def _wrk(wrk: str, url: str, script: Path, span_s: int) -> dict[str, Any]:
    command = [wrk, "-t1", f"-c{_CLIENTS}", f"-d{span_s}s", "--timeout", "10s", "-s", str(script), f"{url}/predict"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=span_s + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f"wrk failed: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "per_s": (found["requests"] - found["refused"]) / found["seconds"]}


def _script(folder: Path, suffix: str) -> Path:
    path = folder / f"{suffix}.lua"
    path.write_text(
        _SCRIPT.format(kind=KINDS[suffix], suffix=suffix, count=_IMAGES, folder=folder / "requests"), encoding="utf-8"
    )
    return path


def _has_litserve(python: str) -> bool:
    return subprocess.run([python, "-c", "import litserve"], capture_output=True, check=False).returncode == 0
