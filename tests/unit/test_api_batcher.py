"""The queue before the network: who goes together, who is turned away, and that neither shows in an answer."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from services.api.batcher import Batcher, QueueLimits
from services.api.metrics import Metrics
from services.api.refusals import OverloadedError
from services.core.errors import PackageError
from services.core.model.backends import open_backend
from services.core.model.batching import Chips, Probabilities
from services.core.model.contract import Contract
from tests.models import make_classifier


class Turnstile:
    """A network that waits to be let through, and remembers how many chips came together."""

    id = "turnstile:fp32"

    def __init__(self, *, failing: bool = False) -> None:
        self.open = threading.Event()
        self.calls: list[int] = []
        self._failing = failing

    def predict(self, chips: Chips) -> Probabilities:
        self.calls.append(len(chips))
        assert self.open.wait(60)
        if self._failing:
            raise PackageError("the network is broken")
        return np.ascontiguousarray(chips[:, :2, 0, 0])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory):
    return make_classifier(tmp_path_factory.mktemp("package") / "m")


@pytest.fixture(scope="module")
def contract(package) -> Contract:
    return package.contract


def chips_of(count: int) -> Chips:
    return np.random.default_rng(count).normal(size=(count, 3, 64, 64)).astype(np.float32)


def run(
    contract: Contract,
    backend: Any,
    work: Callable[[Batcher], Awaitable[Any]],
    *,
    metrics: Metrics | None = None,
    **limits: float,
) -> Any:
    """Some work on a batcher with one thread."""

    async def main() -> Any:
        chosen = QueueLimits(**{"chips": 100, "wait_s": 60.0, **limits})
        return await work(Batcher(backend, contract, threads=1, limits=chosen, metrics=metrics or Metrics()))

    return asyncio.run(main())


def test_a_chip_gets_the_same_answer_whoever_is_beside_it(package):
    backend, chips = open_backend(package, name="onnxruntime"), chips_of(21)

    async def work(batcher: Batcher) -> Any:
        together = await asyncio.gather(*(batcher.predict(chip[None]) for chip in chips))
        alone = [await batcher.predict(chip[None]) for chip in chips]
        return np.concatenate(together), np.concatenate(alone)

    together, alone = run(package.contract, backend, work)
    assert together.tobytes() == alone.tobytes() == backend.predict(chips).tobytes()


def test_a_free_network_takes_one_chip_and_the_rest_gather_meanwhile(contract):
    network = Turnstile()

    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.ensure_future(batcher.predict(chip[None])) for chip in chips_of(12)]
        await asyncio.sleep(0)
        network.open.set()
        await asyncio.gather(*tasks)

    run(contract, network, work)
    assert network.calls == [1, 8, 3]


def test_the_network_goes_on_while_the_loop_is_busy(contract):
    network = Turnstile()

    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.ensure_future(batcher.predict(chip[None])) for chip in chips_of(20)]
        await asyncio.sleep(0)
        network.open.set()
        for _ in range(600):
            if sum(network.calls) == 20:
                break
            time.sleep(0.1)  # noqa: ASYNC251  # the loop does nothing meanwhile
        assert network.calls == [1, 8, 8, 3]
        await asyncio.gather(*tasks)

    run(contract, network, work)


def test_a_full_queue_turns_away_at_once_and_says_for_how_long(contract):
    network = Turnstile()

    async def work(batcher: Batcher) -> int:
        tasks = [asyncio.ensure_future(batcher.predict(chip[None])) for chip in chips_of(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            batcher.check()
        network.open.set()
        assert len(await asyncio.gather(*tasks)) == 4
        return caught.value.retry_after_s

    assert 0 < run(contract, network, work, chips=3) < 10


async def with_one_late(network: Turnstile, batcher: Batcher, *, chips: int) -> list[Any]:
    """What comes of one chip at the network, and of some that wait behind it for 20 ms."""
    first = asyncio.ensure_future(batcher.predict(chips_of(1)))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(batcher.predict(chips_of(chips)))
    await asyncio.sleep(0.02)
    network.open.set()
    return await asyncio.gather(first, late, return_exceptions=True)


def test_a_chip_that_waited_too_long_is_told_so_and_never_computed(contract):
    network = Turnstile()
    answers = run(contract, network, partial(with_one_late, network, chips=1), wait_s=0.01)
    assert isinstance(answers[1], OverloadedError)
    assert network.calls == [1]


def test_an_image_of_many_chips_is_turned_away_once(contract):
    network, metrics = Turnstile(), Metrics()
    answers = run(contract, network, partial(with_one_late, network, chips=32), metrics=metrics, wait_s=0.01)
    assert isinstance(answers[1], OverloadedError)
    assert b"\nswath_turned_away_total 1.0\n" in metrics.render()


def test_its_threads_end_with_it(contract):
    before = set(threading.enumerate())

    async def work(_: Batcher) -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each not in before]

    began = run(contract, Turnstile(), work)
    for each in began:
        each.join(60)
    assert [(each.name, each.daemon, each.is_alive()) for each in began] == [("network", True, False)]


def test_a_request_that_went_away_leaves_the_queue(contract):
    network = Turnstile()

    async def work(batcher: Batcher) -> None:
        kept, gone, last = (asyncio.ensure_future(batcher.predict(chips_of(1))) for _ in range(3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        network.open.set()
        await asyncio.gather(kept, last)

    run(contract, network, work)
    assert network.calls == [1, 1]


def test_a_network_that_fails_fails_its_own_chips_only(contract):
    network = Turnstile(failing=True)
    network.open.set()

    async def work(batcher: Batcher) -> list[Any]:
        first = await asyncio.gather(*(batcher.predict(chips_of(2)) for _ in range(3)), return_exceptions=True)
        network._failing = False
        return [*first, await batcher.predict(chips_of(1))]

    *failed, answered = run(contract, network, work)
    assert all(isinstance(each, PackageError) for each in failed)
    assert answered.shape == (1, 2)


def test_a_call_that_took_ages_does_not_turn_everybody_away_for_ever(contract):
    network = Turnstile()
    network.open.set()

    async def work(batcher: Batcher) -> None:
        batcher._call_s = 1e6
        await batcher.predict(chips_of(1))

    run(contract, network, work, wait_s=0.5)
