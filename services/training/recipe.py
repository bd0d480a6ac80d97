"""What makes one trained model differ from another: classes, bands, and what its card has to say."""

from services.core.model.contract import Contract, ModelClass
from services.core.model.networks.small_unet import RECEPTIVE_RADIUS_PX
from services.core.records import Record

#: 256 px chips that overlap by 48 px: every pixel is in a chip where its whole receptive field is (radius 23 px).
_CHIP_PX, _STRIDE_PX = 256, 208
assert _CHIP_PX - _STRIDE_PX >= 2 * RECEPTIVE_RADIUS_PX


class Recipe(Record):
    """A segmentation to train on one labelled scene."""

    name: str
    bands: tuple[str, ...]
    dtypes: tuple[str, ...]
    gsd_m: tuple[float, float]
    classes: tuple[ModelClass, ...]
    first_class: int  #: the truth's number for class value 0
    interval: tuple[str, str]  #: of the training data, UTC
    #: Each class weighs (its share) ** -weight_power in the loss: 0 treats pixels alike, 1 treats classes alike.
    weight_power: float
    data: str  #: for the card: what it learns from
    limits: str  #: for the card: what not to expect

    def contract(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Contract:
        """The contract of a network trained on numbers with this mean and standard deviation per band."""
        return Contract(
            name=self.name,
            kind="segmentation",
            bands=self.bands,
            units="dn",
            dtypes=self.dtypes,
            mean=mean,
            std=std,
            gsd_m=self.gsd_m,
            chip_px=_CHIP_PX,
            stride_px=_STRIDE_PX,
            classes=self.classes,
        )

    def draft(self) -> Contract:
        """The contract before anything was learned."""
        return self.contract((0.0,) * len(self.bands), (1.0,) * len(self.bands))


#: Seven land cover classes from the six reflective bands of Landsat 5 or 7 as distributed: 8 bit digital numbers.
LANDCOVER_L7 = Recipe(
    name="landcover-l7",
    bands=("blue", "green", "red", "nir", "swir16", "swir22"),
    dtypes=("uint8",),
    # Trained at 28.5 m; Landsat is distributed at 28.5 and 30 m. Nothing else was tried, so nothing else is let in.
    gsd_m=(25.0, 32.0),
    classes=(
        ModelClass(value=0, name="developed", color="#c83c3c"),
        ModelClass(value=1, name="agriculture", color="#e6c850"),
        ModelClass(value=2, name="herbaceous", color="#aad278"),
        ModelClass(value=3, name="shrubland", color="#8c7846"),
        ModelClass(value=4, name="forest", color="#1e6428"),
        ModelClass(value=5, name="water", color="#285ac8"),
        ModelClass(value=6, name="sediment", color="#c8beaa"),
    ),
    first_class=1,
    interval=("2000-01-01T00:00:00Z", "2000-12-31T23:59:59Z"),
    weight_power=0.0,
    data=(
        "One Landsat-7 ETM+ scene of Wake County, North Carolina, from the year 2000 (475 by 527 pixels of 28.5 m, 8 "
        "bit digital numbers, no atmospheric correction), labelled by a state land cover map of 1996."
    ),
    limits=(
        "One place, one season, one date, and labels that are four years older than the image and follow land use as "
        "much as land cover: gardens inside a suburb count as developed. Agriculture, shrubland and sediment are rare "
        "or vague in the labels and are often missed; do not rely on them. Reflectance products, other seasons and "
        "other continents were not tried."
    ),
)
