"""The answer of `/predict` as bytes: everything that is the same for each request is written once per model."""

import json
from collections.abc import Sequence

from services.core.model.contract import Contract


class AnswerTemplate:
    """One model's answer with holes for the class, the probabilities and the request's id."""

    def __init__(self, contract: Contract, *, digest: str, stage: str | None) -> None:
        self._classes = [json.dumps(each.name) for each in contract.classes]
        # Nine digits bring a float32 back bit for bit.
        fields = ",".join(f"{name.replace('%', '%%')}:%.9g" for name in self._classes)
        model = json.dumps({"name": contract.name, "digest": digest, "stage": stage}).replace("%", "%%")
        self._text = f'{{"class":%s,"probabilities":{{{fields}}},"model":{model},"request_id":"%s"}}'

    def fill(self, best: int, probabilities: Sequence[float], request_id: str) -> bytes:
        """The answer.

        Args:
            best: Index of the likeliest class.
            probabilities: One per class, finite.
            request_id: Plain characters, as the gate sees to.
        """
        return (self._text % (self._classes[best], *probabilities, request_id)).encode()
