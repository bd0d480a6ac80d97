"""Child: LitServe with batching over the same network in torch; the settings its documentation recommends for a CPU.

In its favour: batches of up to 32 within 5 ms, no access log. It takes JSON or forms, so the image comes as a form.
"""

from pathlib import Path
from typing import Any

import litserve
import torch
from fastapi import Request  # by this annotation LitServe knows that a form comes

from tests.bench.peer_fastapi import load_network, read_chip
from tests.bench.process import told


class Classifier(litserve.LitAPI):
    """Decode, batch, predict, answer."""

    def setup(self, device: str) -> None:
        del device
        self.network, self.contract = load_network(Path(told()["model"]))
        self.names = [each.name for each in self.contract.classes]

    def decode_request(self, request: Request) -> torch.Tensor:
        return read_chip(request["file"].file.read(), self.contract)

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(inputs)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.softmax(self.network(x), dim=1)

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        probabilities = dict(zip(self.names, output.tolist(), strict=True))
        return {"class": self.names[int(output.argmax())], "probabilities": probabilities}


def main() -> None:
    api = Classifier(max_batch_size=32, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=int(told()["port"]), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
