"""Rows of training: EuroSAT epochs a minute against a plain PyTorch DataLoader loop of the same network."""

from tests.bench.images import eurosat_zip, write_images
from tests.bench.process import best, interleaved, run_child
from tests.bench.rows import Finding, Line, Place


def measure_training(place: Place) -> Finding:
    """The whole schedule of `swath train eurosat`, and its dearest epoch, both against the loop of a tutorial."""
    data = eurosat_zip() or write_images(place.folder / "images", count=512)
    wish = {"data": str(data), "steps": 3 if place.quick else 10}
    found = interleaved(
        min(place.rounds, 2),
        ours=lambda: run_child("train_ours", wish),
        plain=lambda: run_child("peer_training", wish),
    )
    plain = best(found["plain"], "images_per_s")
    whole, full = best(found["ours"], "images_per_s"), best(found["ours"], "full_size_images_per_s")
    what = "EuroSAT epochs per minute against a plain DataLoader loop, same network"
    peer = f"plain loop {60 * plain / _EPOCH:.2f} epochs/min"
    remark = (
        f"Training: an epoch is {_EPOCH:,} images; {wish['steps']} steps of 128 are timed for each size and for "
        "the rough epochs; neither reading nor the first step counts, nor validation and checkpoints, which the plain "
        "loop has not. The plain loop decodes each JPEG when asked for, with 0 and 2 "
        "workers, of which the better counts."
    )
    return Finding(
        lines=(
            Line(
                what=f"{what}, over the whole schedule (small images first, rough ones last)",
                must="≥ 2",
                measured=f"{whole / plain:.1f} ({60 * whole / _EPOCH:.2f} epochs/min)",
                peer=peer,
                met=whole / plain >= 2,
            ),
            Line(
                what=f"{what}, epochs at full size only",
                must="-",
                measured=f"{full / plain:.1f} ({60 * full / _EPOCH:.2f} epochs/min)",
                peer=peer,
                met=full >= plain,
            ),
        ),
        remarks=(remark,),
    )


_EPOCH = 20_520
