"""Child: the peer that every tutorial builds: a synchronous FastAPI endpoint, torch, one image a call.

In its favour: the body comes raw, without a form; uvloop and httptools; no access log; inference mode; the network's
weights are already folded into memory. It is tried with torch's own number of threads for each call, and with one.
"""

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import Depends, FastAPI, Request
from PIL import Image

from tests.bench.process import told


def main() -> None:
    wish = told()
    network, contract = load_network(Path(wish["model"]))
    uvicorn.run(
        build_app(network, contract),
        host="127.0.0.1",
        port=int(wish["port"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


def load_network(folder: Path) -> tuple[Any, Any]:
    """The package's own network in torch, and its contract."""
    from services.core.model.backend_torch import _load_network
    from services.core.model.package import load_package

    package = load_package(folder)
    return _load_network(package), package.contract


def read_chip(body: bytes, contract: Any) -> torch.Tensor:
    """(C, H, W), normalised as the contract says."""
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), np.float32)
    mean, std = (np.array(values, np.float32) for values in (contract.mean, contract.std))
    return torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1).copy())


def build_app(network: Any, contract: Any) -> FastAPI:
    app = FastAPI()
    names = [each.name for each in contract.classes]

    async def read_body(request: Request) -> bytes:
        return await request.body()

    @app.post("/predict")
    def predict(body: Annotated[bytes, Depends(read_body)]) -> dict[str, Any]:
        if body.startswith(b"--"):  # the probe's form
            return {}
        with torch.inference_mode():
            answer = torch.softmax(network(read_chip(body, contract)[None]), dim=1)[0]
        return {"class": names[int(answer.argmax())], "probabilities": dict(zip(names, answer.tolist(), strict=True))}

    return app


if __name__ == "__main__":
    main()
