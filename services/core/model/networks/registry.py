"""The networks a package may name, one page each.

They live in core and not in services.training, although training is what fills them: the torch backend has to build
them from `model.json`, core imports no service, and a registry that training fills at import time would make a package
run or not depending on who was imported before. Only the torch backend and training import these pages, so no serving
image needs torch.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from services.core.errors import PackageError
from services.core.model.networks.small_unet import SmallUnet
from services.core.model.networks.tile_net import TileNet

#: The whole allow-list: name in `swath:network` -> class.
NETWORKS: Final[Mapping[str, Callable[..., nn.Module]]] = {"small-unet": SmallUnet, "tile-net": TileNet}


def build_network(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """An untrained network, in evaluation mode only after its owner says so.

    Raises:
        PackageError: The name is not on the list, or the arguments are not the network's.
    """
    if name not in NETWORKS:
        raise PackageError(f"no network {name!r}; known are {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](**arguments)
    except (TypeError, ValueError) as exc:
        raise PackageError(f"network {name} cannot be built with {dict(arguments)}: {exc}") from exc
