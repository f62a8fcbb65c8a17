"""How a frame becomes the network's input: scaled keeping its shape, padded to whole blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segstream.errors import UsageError

STRIDE = 4  # of the logits; the scaled frame is a whole number of logits, so that they lie straight on it
LARGEST_SIDE = 16384  # pixels; a header that claims more is refused before memory is asked for


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one frame on its way through the network, in pixels.

    Attributes:
        frame: height and width of the frame.
        content: height and width it is scaled to, multiples of 4.
        rows, columns: blocks of the network input; the content lies at its top left, the rest is padding.
        block: side of a block in the network input.
    """

    frame: tuple[int, int]
    content: tuple[int, int]
    rows: int
    columns: int
    block: int

    @property
    def network(self) -> tuple[int, int]:
        """Height and width of the network input."""
        return self.rows * self.block, self.columns * self.block

    @property
    def block_px(self) -> tuple[float, float]:
        """Height and width of a block in pixels of the frame."""
        return (
            self.block * self.frame[0] / self.content[0],
            self.block * self.frame[1] / self.content[1],
        )


def fit(frame: tuple[int, int], size: tuple[int, int], block: int, exact: bool = False) -> Geometry:
    """Choose the network input for frames of a size.

    Args:
        frame: height and width of the frames.
        size: width and height to scale to. The frame keeps its shape: it is scaled to about as many pixels, or with
            `exact` so that it fits inside.
        block: side of a block in pixels.
        exact: whether the user asked for this very size.

    Raises:
        UsageError: if a frame or the size cannot be used.
    """
    height, width = frame
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UsageError(
            f"frames of {width}x{height} pixels cannot be segmented; each side must be 1 to {LARGEST_SIDE}"
        )
    wide, tall = size
    if not (16 <= wide <= LARGEST_SIDE and 16 <= tall <= LARGEST_SIDE):
        raise UsageError(f"a network size of {wide}x{tall} cannot be used; each side must be 16 to {LARGEST_SIDE}")
    if exact:
        scale = min(wide / width, tall / height)
    else:
        scale = math.sqrt(wide * tall / (width * height))
    content = (whole(height * scale, STRIDE), whole(width * scale, STRIDE))
    return Geometry((height, width), content, math.ceil(content[0] / block), math.ceil(content[1] / block), block)


def whole(value: float, unit: int) -> int:
    """The multiple of `unit` nearest to `value`, at least one."""
    return max(unit, round(value / unit) * unit)


def scale_image(
    image: NDArray[np.uint8], geometry: Geometry, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Scale a frame [H, W, 3] to the geometry's content; averaged where it shrinks, bilinear where it grows.

    A frame that has this size is returned as it is; others go to `out` (uint8, of that size), if given.
    """
    height, width = geometry.content
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)  # type: ignore[return-value]


def to_input(image: NDArray[np.uint8], geometry: Geometry, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Make the network input: uint8 [H, W, 3] -> float32 [1, 3, GH*block, GW*block], channels last.

    The padding is zero after normalisation, which is the mean colour.
    """
    scaled = scale_image(image, geometry)
    height, width = geometry.content
    x = torch.zeros(*geometry.network, 3)
    offset = torch.tensor(mean) * 255
    gain = 1 / (torch.tensor(std) * 255)
    x[:height, :width] = torch.from_numpy(np.ascontiguousarray(scaled)).float().sub_(offset).mul_(gain)
    return x.permute(2, 0, 1)[None]


def check_size(size: object) -> tuple[int, int] | None:
    """Check that something is the width and height of a network input, or None, and return it.

    Raises:
        UsageError: with what it is instead.
    """
    if size is None:
        return None
    if (
        isinstance(size, (tuple, list))
        and len(size) == 2
        and all(isinstance(n, int | np.integer) and n > 0 for n in size)
    ):
        return int(size[0]), int(size[1])
    raise UsageError(f"size must be width and height of the network input in pixels, as (1024, 512), not {size!r}")


def check_image(image: object) -> NDArray[np.uint8]:
    """Check that something is an RGB image, and return it.

    Raises:
        UsageError: with what it is instead.
    """
    if not isinstance(image, np.ndarray):
        raise UsageError(f"an image must be a numpy array uint8 [H, W, 3] in RGB order, not a {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(
            f"an image must be a numpy array uint8 [H, W, 3] in RGB order, not {image.dtype} {list(image.shape)}"
        )
    return image
