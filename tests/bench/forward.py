"""Child: the network alone, chips normalised and in memory, all cores: the limit of predicting.

The engine's own backend is one of the settings tried; bare OpenVINO in others is tried beside it, so that the limit
is that of the library on this machine, not of our way to call it.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bench.process import answer, told

Chips = NDArray[np.float32]
#: Settings are compared briefly; the best is then measured for long, so that it meets the same noise as a whole run.
PROBE_S, MEASURE_S = 1.0, 10.0


def main() -> None:
    from services.core.model.backends import open_backend
    from services.core.model.package import load_package
    from services.core.model.precision import graph_file

    wish = told()
    package = load_package(Path(wish["model"]))
    threads = len(os.sched_getaffinity(0))
    chips = _chips(wish["scene"], 64, package.contract.mean[0], package.contract.std[0])
    name, precision = wish["backend"].split(":")
    backend = open_backend(package, name=name, precision=precision, threads=threads)
    settings: dict[str, Callable[[], object]] = {f"our {backend.id}": lambda: backend.predict(chips)}
    for streams, batch in ((1, 32), (threads, 1), (threads, 4), (threads, 8)):
        bare = _openvino(package.read(graph_file(precision)), precision, streams, batch, chips)
        settings[f"bare OpenVINO, {streams} streams, batch {batch}"] = bare
    rates = {name: _rate(call, len(chips), PROBE_S) for name, call in settings.items()}
    setting = max(rates, key=rates.__getitem__)
    rate = _rate(settings[setting], len(chips), MEASURE_S)
    answer(tiles_per_s=rate, setting=setting, rates=rates, backend=backend.id)


def _chips(scene: str, count: int, mean: float, std: float) -> Chips:
    """(count, 3, 256, 256) of the scene itself."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(scene) as source:
        across = source.width // 256
        windows = [Window(i % across * 256, i // across * 256, 256, 256) for i in range(count)]
        return np.stack([(source.read(window=w, out_dtype="float32") - mean) / std for w in windows])


def _openvino(onnx: bytes, precision: str, streams: int, batch: int, chips: Chips) -> Callable[[], object]:
    import openvino as ov

    network = ov.Core().read_model(onnx, b"")
    network.reshape([batch, *chips.shape[1:]])
    threads = len(os.sched_getaffinity(0))
    hint = "bf16" if precision == "bf16" else "f32"
    options = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    queue = ov.AsyncInferQueue(ov.Core().compile_model(network, "CPU", options), 2 * streams)
    parts = [np.ascontiguousarray(chips[i : i + batch]) for i in range(0, len(chips), batch)]

    def call() -> None:
        for part in parts:
            queue.start_async([part], share_inputs=True)
        queue.wait_all()

    return call


def _rate(call: Callable[[], object], count: int, measure_s: float) -> float:
    call()
    done, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < measure_s:
        call()
        done += count
    return done / spent


if __name__ == "__main__":
    main()
