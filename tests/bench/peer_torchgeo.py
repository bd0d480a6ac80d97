"""Child, in the peer's own environment: TorchGeo's loop over a scene, with a network behind it.

RasterDataset, GridGeoSampler and DataLoader as TorchGeo's documentation puts them together; DataLoader workers are
tried and the better setting counts. Nothing of Swath is imported here.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.process import answer, told

TILE_PX, BATCH = 256, 32
MEASURE_S = 5.0


def main() -> None:
    import torch

    wish = told()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    predict = _torch() if wish["backend"] == "torch:fp32" else _openvino(wish, threads)
    _complete_torchvision()
    # A dataset each: it keeps its file open, and DataLoader workers forked after that would read over each other.
    rates = {workers: _rate(_dataset(wish), predict, workers) for workers in wish["workers"]}
    workers = max(rates, key=rates.__getitem__)
    answer(tiles_per_s=rates[workers], setting=f"batch {BATCH}, {workers} DataLoader workers", version=_version())


def _complete_torchvision() -> None:
    """Let torchvision be imported beside the CPU build of torch.

    Its wheel is built against CUDA's torch and finds no operators here. TorchGeo's datasets use none of them; these two
    names only have to exist.
    """
    import torch

    for name in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", schema)


def _dataset(wish: dict[str, Any]) -> Any:
    from torchgeo.datasets import RasterDataset

    path, mean, std = Path(wish["scene"]), wish["mean"], wish["std"]

    class Scenes(RasterDataset):
        filename_glob = path.name

    def normalise(sample: dict[str, Any]) -> dict[str, Any]:
        sample["image"] = (sample["image"] - mean) / std
        return sample

    return Scenes(path.parent, transforms=normalise)


def _rate(dataset: Any, predict: Callable[[Any], None], workers: int) -> float:
    from torch.utils.data import DataLoader
    from torchgeo.datasets import stack_samples
    from torchgeo.samplers import GridGeoSampler

    sampler = GridGeoSampler(dataset, size=TILE_PX, stride=TILE_PX)
    loader: Iterator[dict[str, Any]] = iter(
        DataLoader(dataset, batch_size=BATCH, sampler=sampler, num_workers=workers, collate_fn=stack_samples)
    )
    predict(next(loader)["image"])
    done, started = 0, time.perf_counter()
    for sample in loader:
        if len(sample["image"]) < BATCH:
            break  # the last batch of a small scene is another shape
        predict(sample["image"])
        done += BATCH
        if time.perf_counter() - started > MEASURE_S:
            break
    return done / (time.perf_counter() - started)


def _torch() -> Callable[[Any], None]:
    import torch

    from tests.bench.resnet import seeded_resnet18

    network = seeded_resnet18()

    def predict(chips: Any) -> None:
        with torch.inference_mode():
            torch.softmax(network(chips), dim=1)

    return predict


def _openvino(wish: dict[str, Any], threads: int) -> Callable[[Any], None]:
    import openvino as ov

    hint = "bf16" if wish["backend"].endswith("bf16") else "f32"
    network = ov.Core().read_model(
        Path(wish["model"]) / ("model.int8.onnx" if wish["backend"].endswith("int8") else "model.onnx")
    )
    network.reshape([BATCH, 3, TILE_PX, TILE_PX])
    options = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    compiled = ov.Core().compile_model(network, "CPU", options)

    def predict(chips: Any) -> None:
        compiled([chips.numpy()], share_inputs=True)

    return predict


def _version() -> str:
    from importlib.metadata import version

    return f"TorchGeo {version('torchgeo')}, torch {version('torch')}"


if __name__ == "__main__":
    main()
