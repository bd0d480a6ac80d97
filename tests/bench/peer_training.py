"""Child: the training loop of PyTorch's tutorials: a Dataset that decodes, a DataLoader, SGD."""

import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.bench.process import answer, told

_BATCH = 128


def main() -> None:
    import torch

    wish = told()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)  # as ours does
    rates = {workers: _rate(wish, workers) for workers in (0, 2)}
    workers = max(rates, key=rates.__getitem__)
    answer(images_per_s=rates[workers], setting=f"{workers} DataLoader workers")


def _rate(wish: dict[str, Any], workers: int) -> float:
    import torch
    from torch.utils.data import DataLoader

    from services.core.model.networks.registry import build_network
    from services.training.classification import NETWORK, network_arguments
    from services.training.image_recipe import EUROSAT_RGB

    network = build_network(NETWORK, network_arguments(EUROSAT_RGB)).train()
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    loader = iter(DataLoader(_dataset(wish["data"]), batch_size=_BATCH, shuffle=True, num_workers=workers))
    began = time.perf_counter()
    for step in range(wish["steps"] + 1):
        chips, labels = next(loader)
        loss = torch.nn.functional.cross_entropy(network(chips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        if step == 0:
            began = time.perf_counter()
    return _BATCH * wish["steps"] / (time.perf_counter() - began)


def _dataset(data: str) -> Any:
    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import Dataset

    bodies = _bodies(Path(data))

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return len(bodies)

        def __getitem__(self, index: int) -> Any:
            image = np.asarray(Image.open(io.BytesIO(bodies[index])).convert("RGB"))
            chip = torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255).sub(0.37).div(0.17)
            if torch.rand(1) < 0.5:
                chip = chip.flip(2)
            if torch.rand(1) < 0.5:
                chip = chip.flip(1)
            return chip, index % 10

    return Images()


def _bodies(data: Path) -> list[bytes]:
    """Up to 4096 JPEGs, in memory for both sides: no disk is measured."""
    if data.is_dir():
        return [path.read_bytes() for path in sorted(data.rglob("*.jpg"))] * 8
    with zipfile.ZipFile(data) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".jpg")][:4096]


if __name__ == "__main__":
    main()
