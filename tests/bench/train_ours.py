"""Child: steps of our own training, for each size of image in the schedule and for its rough epochs."""

import os
import time
from pathlib import Path

from tests.bench.process import answer, told


def main() -> None:
    import numpy as np
    import torch

    from services.core.model.networks.registry import build_network
    from services.training.augment import Augmentation, Augmenter
    from services.training.classification import NETWORK, network_arguments
    from services.training.fit_images import ImageTrainer, Part
    from services.training.image_recipe import EUROSAT_RGB
    from services.training.image_schedule import Schedule
    from services.training.images import read_labelled_images

    wish = told()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)
    images = read_labelled_images(Path(wish["data"]))
    schedule = Schedule()
    part = Part(images=images.pixels[:4096], labels=images.labels[:4096] % 10)
    scaling = ((90.0,) * 3, (45.0,) * 3)
    network = build_network(NETWORK, network_arguments(EUROSAT_RGB))
    trainer = ImageTrainer(
        network,
        part,
        Part(images=images.pixels[:16], labels=images.labels[:16] % 10),
        schedule=schedule,
        augmentation=Augmentation(),
        scaling=scaling,
        seed=1,
        work=Path(os.devnull),
        inputs="",
    )
    augmenter = Augmenter(Augmentation(), mean=scaling[0], std=scaling[1], rng=np.random.default_rng(1))

    def rate(px: int, *, roughly: bool = False) -> float:
        seconds = []
        for step in range(wish["steps"] + 1):
            chosen = np.arange(step * 128, (step + 1) * 128) % len(part.labels)
            began = time.perf_counter()
            batch = augmenter.batch(part.images[chosen], part.labels[chosen], px=px, mix=not roughly, roughly=roughly)
            trainer.step(batch, share=0.01, average=0.9)
            seconds.append(time.perf_counter() - began)
        return 128 * wish["steps"] / sum(seconds[1:])

    rates = [(count, rate(px)) for px, count in schedule.phases]
    full = rates[-1][1]
    rates.append((schedule.rough_epochs, rate(schedule.full_px, roughly=True)))
    mean = sum(count for count, _ in rates) / sum(count / each for count, each in rates)
    answer(images_per_s=mean, full_size_images_per_s=full)


if __name__ == "__main__":
    main()
