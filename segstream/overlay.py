"""Drawing a result over its frame: class colours, the block grid, a legend and a line of figures.

With the grid on, blocks at high resolution are outlined and keep their brightness, the others are darkened a little,
so that both can be told apart where many high blocks touch. The mask view keeps the class colours exact: there the
grid is lines only.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.errors import UsageError
from segstream.frames import Result
from segstream.lettering import Label, place

VIEWS = ("overlay", "mask", "split", "source")

_DIM = 0.8  # brightness of low-resolution blocks
_LINE = (255, 255, 255)
_EDGE = (0, 0, 0)

Picture = NDArray[np.uint8]  # [H, W, 3], RGB


def draw(
    result: Result,
    *,
    alpha: float = 0.5,
    grid: bool = True,
    view: str = "overlay",
    legend: bool = False,
    stats: bool = False,
) -> Picture:
    """Draw a result.

    Args:
        result: what a Segmenter returned.
        alpha: opacity of the class colours, 0..1.
        grid: outline the blocks that ran at high resolution.
        view: "overlay", "mask" (class colours alone), "split" (the source on the left half, the overlay on the right)
            or "source" (the frame as it came, without a grid).
        legend: name the classes in the frame with their colours and shares.
        stats: add a line with the model, the share of high blocks, GMAC and milliseconds.

    Returns:
        uint8 [H, W, 3], RGB, as large as the frame; always a new array.

    Raises:
        UsageError: if the view is unknown or alpha is not in 0..1.
    """
    if view not in VIEWS:
        raise UsageError(f"there is no view {view!r}; use one of {', '.join(VIEWS)}")
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"alpha must be a number from 0 to 1, not {alpha}")
    image = result.frame.image
    if view == "source":
        picture = image.copy()
    else:
        picture = _colours(result)
        if view != "mask":
            _blend(picture, image, alpha, result if grid else None)
        if grid:
            draw_grid(picture, result.blocks, result.block_px)
        if view == "split":
            _split(picture, image)
    if legend:
        _draw_legend(picture, result)
    if stats:
        _draw_stats(picture, result)
    return picture


def _colours(result: Result) -> Picture:
    """The class map in its colours. Labels without a class, such as 255, are black."""
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(result.palette), 0] = result.palette
    return cv2.applyColorMap(np.ascontiguousarray(result.labels), table)  # type: ignore[return-value]


def _blend(colours: Picture, image: Picture, alpha: float, dimmed: Result | None) -> None:
    """Mix the frame into the colours, in place; with a result its low blocks get a little darker on the way."""
    if dimmed is None:
        cv2.addWeighted(colours, alpha, image, 1.0 - alpha, 0.0, dst=colours)
        return
    ys, xs = _corners(colours, dimmed.blocks, dimmed.block_px)
    for row, blocks in enumerate(dimmed.blocks):
        for light, which in ((1.0, blocks), (_DIM, ~blocks)):
            for a, b in _runs(which):
                part = np.s_[ys[row] : ys[row + 1], xs[a] : xs[b]]
                if colours[part].size:
                    cv2.addWeighted(
                        colours[part], alpha * light, image[part], (1.0 - alpha) * light, 0.0, dst=colours[part]
                    )


def _corners(picture: Picture, blocks: NDArray[np.bool_], block_px: tuple[float, float]) -> tuple[list[int], list[int]]:
    """Where the rows and the columns of blocks begin in the picture, and its own end."""
    h, w = picture.shape[:2]
    gh, gw = blocks.shape
    ys = [min(h, round(k * block_px[0])) for k in range(gh)]
    xs = [min(w, round(k * block_px[1])) for k in range(gw)]
    return [*ys, h], [*xs, w]


def line_width(height: int, width: int) -> int:
    """Width in pixels of the grid's lines in a picture of this size: 1 up to 540 rows, 4 at 4K."""
    return max(1, round(min(height, width) / 540))


def draw_grid(picture: Picture, blocks: NDArray[np.bool_], block_px: tuple[float, float]) -> None:
    """Outline high blocks in place, white with a dark edge so that it shows on any colour.

    Args:
        picture: uint8 [H, W, 3], changed in place.
        blocks: bool [GH, GW].
        block_px: height and width of a block in pixels of the picture.
    """
    h, w = picture.shape[:2]
    ys, xs = _corners(picture, blocks, block_px)
    t = line_width(h, w)
    padded = np.pad(blocks, 1)
    across = padded[1:, 1:-1] | padded[:-1, 1:-1]  # [GH + 1, GW]: a high block above or below the line
    down = (padded[1:-1, 1:] | padded[1:-1, :-1]).T  # [GW + 1, GH]
    for reach, colour in ((t, _EDGE), (0, _LINE)):
        for k, line in enumerate(across):
            y = _inside(ys[k], h, t)
            for a, b in _runs(line):
                picture[max(0, y - reach) : y + t + reach, max(0, xs[a] - reach) : xs[b] + t + reach] = colour
        for k, line in enumerate(down):
            x = _inside(xs[k], w, t)
            for a, b in _runs(line):
                picture[max(0, ys[a] - reach) : ys[b] + t + reach, max(0, x - reach) : x + t + reach] = colour


def _inside(position: int, limit: int, thickness: int) -> int:
    """Start of a line at `position`, moved so that it stays in the picture."""
    return min(max(0, position - thickness // 2), limit - thickness)


def _runs(row: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.view(np.int8), [0]))))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _split(picture: Picture, image: Picture) -> None:
    h, w = picture.shape[:2]
    middle = w // 2
    picture[:, :middle] = image[:, :middle]
    t = line_width(h, w)
    picture[:, max(0, middle - 2 * t) : middle + 2 * t] = _EDGE
    picture[:, max(0, middle - t) : middle + t] = _LINE


def text_size(height: int, width: int) -> int:
    """Height in pixels of the lettering in a picture of this size: 13 at 640x360, 25 at 1280x720, 70 at 4K."""
    return max(8, round(min(height / 29, width / 36) + 0.5))


def _draw_legend(picture: Picture, result: Result) -> None:
    """Classes in the frame, the largest first, in the top left corner; as many as there is room for."""
    h, w = picture.shape[:2]
    size = text_size(h, w)
    shares = sorted(result.class_shares().items(), key=lambda item: -item[1])
    colours = dict(zip(result.classes, result.palette.tolist(), strict=False))
    rows = [Label(name, f"{share:.0%}" if share >= 0.005 else "<1%", tuple(colours[name])) for name, share in shares]
    room = max(1, int((h * 0.8) / ceil(size * 1.35)))
    place(picture, rows[:room], size, corner="top left")


def stats_parts(result: Result) -> list[str]:
    """The line of figures in parts, the most important first."""
    parts = [f"{result.high_share:.0%} of blocks high"]
    if result.gmacs:
        parts.append(f"{result.gmacs:.1f} of {result.dense_gmacs:.1f} GMAC")
    total = sum(result.timings.values())
    if total > 0:
        parts.append(f"{total:.0f} ms")
    if result.dropped:
        parts.append(f"{result.dropped} dropped")
    if result.policy:
        parts.append(result.policy)
    if result.model:
        parts.append(result.model)
    return parts


def _draw_stats(picture: Picture, result: Result) -> None:
    h, w = picture.shape[:2]
    place(picture, stats_parts(result), text_size(h, w), corner="bottom left")
