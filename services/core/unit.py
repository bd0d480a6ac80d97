"""What one finished unit leaves in the object store: the answers of its tiles, and its part of the map."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from services.core.errors import CoverageError, ObjectNotFoundError
from services.core.records import UnitResult
from services.core.storage import ObjectStore
from services.core.strips import Strips

#: TileState as stored: position in this tuple.
STATES = ("computed", "empty", "masked")
COMPUTED, EMPTY, MASKED = range(3)
#: Part of every unit's key: raised when equal work would leave other bytes than before.
UNIT_FORMAT = 4


@dataclass(slots=True, kw_only=True)
class UnitBlock:
    """Answers for tile rows [row_start, row_start + rows), every column. Equal work gives equal bytes."""

    row_start: int
    state: NDArray[np.uint8]  #: (rows, cols), index into STATES
    valid_fraction: NDArray[np.float32]  #: (rows, cols), share of a tile's pixels that are usable
    answers: NDArray[np.float32]  #: (1, rows, cols) score, or (K, rows, cols) mean probability of each class
    pixels: Strips | None = None  #: (height, width) of the class map; None where the map follows the tiles
    reasons: dict[str, str] = field(default_factory=dict)  #: "row,col" of a masked tile -> one sentence
    #: What the network was given and answered, see `services.core.model.statistics.Tally`; empty: not counted.
    tally: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def blank(cls, *, row_start: int, shape: tuple[int, int], answers: int, pixels: tuple[int, int] | None) -> Self:
        """All tiles empty; `pixels` is (height, width) of the map part, nothing painted."""
        return cls(
            row_start=row_start,
            state=np.full(shape, EMPTY, np.uint8),
            valid_fraction=np.zeros(shape, np.float32),
            answers=np.zeros((answers, *shape), np.float32),
            pixels=None if pixels is None else Strips(pixels),
        )

    @property
    def masked(self) -> int:
        """Tiles that could not be computed."""
        return int(np.count_nonzero(self.state == MASKED))

    def encode(self) -> bytes:
        """A compressed .npz without pickles; numpy gives its members a fixed date, so bytes repeat."""
        head = json.dumps({"row_start": self.row_start, "reasons": self.reasons}, sort_keys=True).encode()
        arrays = {
            "head": np.frombuffer(head, np.uint8),
            "state": self.state,
            "valid_fraction": self.valid_fraction,
            "answers": self.answers,
            "tally": self.tally,
        }
        if self.pixels is not None:
            packed = self.pixels.pack()
            arrays["pixels_shape"] = np.array(self.pixels.shape, np.int64)
            arrays["pixels_sizes"] = np.array([len(strip) for strip in packed], np.int64)
            arrays["pixels"] = np.frombuffer(b"".join(packed), np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse of `encode`.

        Raises:
            CoverageError: Not such an object, or a torn one.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                head = json.loads(arrays["head"].tobytes())
                return cls(
                    row_start=head["row_start"],
                    state=arrays["state"],
                    valid_fraction=arrays["valid_fraction"],
                    answers=arrays["answers"],
                    pixels=_strips(arrays["pixels_shape"], arrays["pixels_sizes"], arrays["pixels"].tobytes())
                    if "pixels" in arrays
                    else None,
                    reasons=head["reasons"],
                    tally=arrays["tally"],
                )
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as exc:  # numpy's words are about pickles
            raise CoverageError("a unit's object cannot be read; resume its run to compute it again") from exc


def read_intact(store: ObjectStore, result: UnitResult) -> bytes | None:
    """A finished unit's object; None: it is gone, or no longer what was recorded."""
    try:
        data = store.get(result.object_key)
    except ObjectNotFoundError:
        return None
    return data if hashlib.sha256(data).hexdigest() == result.sha256 else None


def _strips(shape: Sequence[int], sizes: NDArray[np.int64], packed: bytes) -> Strips:
    ends = np.cumsum(sizes).tolist()
    height, width = (int(side) for side in shape)
    return Strips((height, width), [packed[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)])
