"""Small model packages with networks of chance weights, made by the code that ships real ones."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from services.core.model.contract import Contract, ModelClass, Rendering
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.networks.registry import build_network
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.training.export import onnx_bytes, weights_bytes

BANDS = ("red", "nir")
CLASSES = tuple(ModelClass(value=v, name=n, color="#102030") for v, n in enumerate(("land", "water", "cloud")))


def make_contract(*, chip_px: int = 32) -> Contract:
    return Contract(
        name="tiny",
        kind="segmentation",
        bands=BANDS,
        units="dn",
        mean=(100.0, 200.0),
        std=(10.0, 20.0),
        chip_px=chip_px,
        stride_px=chip_px,
        classes=CLASSES,
    )


def network_files(
    *, chip_px: int = 32, precisions: tuple[str, ...] = ("fp32",), bands: int = len(BANDS)
) -> dict[str, bytes]:
    """The files of a whole package; the same ones each time. Another number of bands breaks its contract."""
    contract = make_contract(chip_px=chip_px)
    arguments = {"bands": bands, "classes": len(CLASSES), "width": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network("small-unet", arguments).eval()
    facts = ModelFacts(
        description="Chance weights.",
        architecture="U-Net",
        network={"name": "small-unet", "arguments": arguments},
        precisions=precisions,
    )
    return {
        "model.json": json.dumps(build_item(contract, facts)).encode(),
        "weights.safetensors": weights_bytes(network),
        "model.onnx": onnx_bytes(network, bands=bands, chip_px=chip_px),
        "card.md": b"# tiny\n",
    }


def make_package(folder: Path, files: Mapping[str, bytes] | None = None, *, chip_px: int = 32) -> ModelPackage:
    return save_package(folder, network_files(chip_px=chip_px) if files is None else files)


PICTURE_CLASSES = ("AnnualCrop", "Forest", "Highway", "River", "SeaLake")


def make_classifier(
    folder: Path, *, chip_px: int = 64, stride_px: int | None = None, **changes: object
) -> ModelPackage:
    """A package of the shipped classifier's form with chance weights: 8-bit pictures, 10 m, Sentinel-2 rendered."""
    values = {
        "name": "chance-rgb",
        "kind": "classification",
        "bands": ("red", "green", "blue"),
        "units": "dn",
        "dtypes": ("uint8",),
        "rendering": Rendering(),
        "mean": (87.0, 97.0, 104.0),
        "std": (52.0, 35.0, 29.0),
        "gsd_m": (8.0, 12.0),
        "chip_px": chip_px,
        "stride_px": stride_px or chip_px,
        "second_look": 0.2055,  # chance weights name half of all images with more, half with less
        "classes": tuple(
            ModelClass(value=value, name=name, color=f"#{40 * value:02x}5030")
            for value, name in enumerate(PICTURE_CLASSES)
        ),
    }
    contract = Contract.model_validate({**values, **changes})
    arguments = {"bands": 3, "classes": len(PICTURE_CLASSES), "width": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build_network("tile-net", arguments).eval()
    facts = ModelFacts(
        description="Chance weights.", architecture="TileNet", network={"name": "tile-net", "arguments": arguments}
    )
    files = {
        "model.json": json.dumps(build_item(contract, facts)).encode(),
        "weights.safetensors": weights_bytes(network),
        "model.onnx": onnx_bytes(network, bands=3, chip_px=chip_px),
        "card.md": b"# chance-rgb\n",
    }
    return save_package(folder, files)
