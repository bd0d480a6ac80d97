"""What makes one image classifier differ from another: classes, bands, rendering, and what its card has to say."""

from collections.abc import Sequence

from services.core.errors import RequestError
from services.core.model.contract import Contract, ModelClass, Rendering
from services.core.records import Record

#: A chip named with less than this is looked at from all sides. EuroSAT: a ninth more work, an eighth fewer errors.
_SECOND_LOOK = 0.8


class ImageRecipe(Record):
    """A classifier to train on folders of images, one folder per class."""

    name: str
    bands: tuple[str, ...]
    rendering: Rendering | None  #: how reflectance becomes the pictures of the data set; None: nobody knows
    gsd_m: tuple[float, float]
    chip_px: int
    classes: tuple[ModelClass, ...]
    width: int  #: channels of the network's first scale
    blocks: tuple[int, ...]  #: residual blocks per scale
    interval: tuple[str, str]  #: of the training data, UTC
    license: str
    data: str  #: for the card: what it learns from
    limits: str  #: for the card: what not to expect

    def check_classes(self, found: Sequence[str], title: str) -> None:
        """Raise unless the images show this recipe's classes and no others.

        Raises:
            RequestError: They do not.
        """
        wanted = [c.name for c in self.classes]
        if list(found) != wanted:
            raise RequestError(
                f"{title} shows the classes {', '.join(found)}; {self.name} learns {', '.join(wanted)}, one folder each"
            )

    def check_size(self, px: tuple[int, int], title: str) -> None:
        """Raise unless images of this (height, width) are the chips that the network will be asked about.

        Raises:
            RequestError: They are not.
        """
        if px != (self.chip_px, self.chip_px):
            raise RequestError(
                f"{title} holds images of {px[1]}x{px[0]} pixels; {self.name} learns from "
                f"{self.chip_px}x{self.chip_px}, so cut or resample them first"
            )

    def contract(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Contract:
        """The contract of a network trained on levels with this mean and standard deviation per band."""
        return Contract(
            name=self.name,
            kind="classification",
            bands=self.bands,
            units="dn",
            dtypes=("uint8",),
            rendering=self.rendering,
            mean=mean,
            std=std,
            gsd_m=self.gsd_m,
            chip_px=self.chip_px,
            stride_px=self.chip_px,
            classes=self.classes,
            second_look=_SECOND_LOOK,
        )


#: Ten classes of land use from the colours of Sentinel-2.
EUROSAT_RGB = ImageRecipe(
    name="eurosat-rgb",
    bands=("red", "green", "blue"),
    rendering=Rendering(),
    # The images are 10 m; a fifth more or less was in reach of nothing it saw, so nothing else is let in.
    gsd_m=(8.0, 12.0),
    chip_px=64,
    classes=(
        ModelClass(value=0, name="AnnualCrop", color="#e6c850"),
        ModelClass(value=1, name="Forest", color="#1e6428"),
        ModelClass(value=2, name="HerbaceousVegetation", color="#aad278"),
        ModelClass(value=3, name="Highway", color="#646464"),
        ModelClass(value=4, name="Industrial", color="#a03cb4"),
        ModelClass(value=5, name="Pasture", color="#78c83c"),
        ModelClass(value=6, name="PermanentCrop", color="#c8821e"),
        ModelClass(value=7, name="Residential", color="#c83c3c"),
        ModelClass(value=8, name="River", color="#50a0e6"),
        ModelClass(value=9, name="SeaLake", color="#1e46aa"),
    ),
    width=32,
    blocks=(1, 1, 2, 1),
    interval=("2015-06-23T00:00:00Z", "2017-12-31T23:59:59Z"),
    license="Apache-2.0",
    data=(
        "EuroSAT RGB (Helber et al. 2019, MIT licence): 64 by 64 pixel JPEG images of Sentinel-2 Level-1C at 10 m from "
        "34 European countries, red, green and blue rendered to 8 bits, each showing one kind of land use."
    ),
    limits=(
        "Europe only, scenes almost free of clouds, no atmospheric correction, and every training image was chosen "
        "because it shows one class clearly: on a whole scene many tiles hold several, or none of the ten (cloud, bare "
        "rock, snow, desert), and the network has no way to say so. Level-2A reflectance, other sensors and other "
        "continents were not tried."
    ),
)
