"""Everything between the convolutions, as launches of the kernels of kernels/{stem,glue,spp,labels}.cu."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segstream.engines.cuda_weights import Norm, Pyramid, Weights
from segstream.kernels.launcher import Argument, launch
from segstream.kernels.ops import EDGES, THREADS
from segstream.models.swiftnet import POOL_GRIDS

COPIES, HALO_COPIES = 4, 2  # pieces of 8 channels that a thread of pad_features moves
TAP_COPIES = 2  # and of scatter_taps
LOGIT_ROWS = 128  # rows that a block of threads of the last layer makes
STEM_SHARED = 64576  # bytes of shared memory of the stem
STEM_BLOCKS = 132 * 2  # blocks of threads that share the stem's work: about as many as run at once on a large GPU


@dataclass(frozen=True, slots=True)
class Layout:
    """How the features lie: as tiles of a grid, or dense (`whole`: one tile as large as the picture).

    Attributes:
        blocks, tiles: the tables of `segstream.kernels.ops`; for a whole picture blocks [[[0]]] and tiles [0].
        rows, columns: shape of `blocks`.
        n_tiles: number of tiles.
        side: height and width of a tile in pixels of the network input at its own resolution.
        fine: whether the finest resolution present is the network's full one (some block is high).
        seamless: whether enlarging looks over borders of blocks.
        whole: dense.
        near: int32 [T, 8], what lies around each tile (kernels/common.cuh); `stem` fills it in.
        near_high: the same for the high tiles alone, [first_low, 8], with nothing where a low tile lies; `stem` fills
            it in if some residual block runs on high tiles alone.
    """

    blocks: Tensor
    tiles: Tensor
    rows: int
    columns: int
    n_tiles: int
    side: tuple[int, int]
    fine: bool
    seamless: bool
    whole: bool
    near: Tensor | None = None
    near_high: Tensor | None = None

    def at(self, stride: int) -> tuple[int, int]:
        """Sides of a tile at a stride of the network."""
        return self.side[0] // stride, self.side[1] // stride

    def arguments(self, side: tuple[int, int]) -> list[Argument]:
        return [self.blocks, self.tiles, self.rows, self.columns, *side]

    @property
    def first_low(self) -> int:
        """Number of the first low tile: before it come four for each high block."""
        return 4 * ((self.n_tiles - self.rows * self.columns) // 3)

    @property
    def mixed(self) -> bool:
        """Whether there are tiles of both resolutions."""
        return 0 < self.first_low < self.n_tiles

    @property
    def among_high(self) -> Layout:
        """For features that high tiles alone have, [first_low, q, q, C]: zeros are where a low neighbour's would be."""
        return replace(self, near=self.near_high)

    @property
    def pad(self) -> int:
        """Padding of tiles before a 3x3 layer; the dense network leaves it to the convolution."""
        return 0 if self.whole else 1

    @property
    def local(self) -> bool:
        """Tiles of a network that treats each block by itself where it enlarges, as the authors' do."""
        return not self.seamless and not self.whole

    @property
    def edge(self) -> int:
        return EDGES["replicate" if self.seamless else "block"]


def dense_layout(network: tuple[int, int], device: torch.device) -> Layout:
    """The layout of the dense network for an input of this height and width."""
    zero = torch.zeros(1, dtype=torch.int32, device=device)
    near = torch.full((1, 8), -1, dtype=torch.int32, device=device)
    return Layout(zero.view(1, 1, 1), zero, 1, 1, 1, network, fine=False, seamless=True, whole=True, near=near)


def tiles_of(x: Tensor) -> Tensor:
    """Rows [T, h, w, C] as [T, C, h, w], channels last."""
    return x.permute(0, 3, 1, 2)


def rows_of(x: Tensor) -> Tensor:
    """[T, C, h, w], channels last, as [T, h, w, C]."""
    return x.permute(0, 2, 3, 1)


def grid_for(pixels: int, channels: int, count: int, vec: int = 8) -> tuple[int, int]:
    return -(-pixels * (channels // vec) // THREADS), count


def blocks_for(pixels: int, channels: int, each: int = 1) -> int:
    """Blocks of threads that handle so many pixels (of all tiles), `each` pieces of 8 channels a thread."""
    return -(-pixels * (channels // 8) // (THREADS * each))


def ring_size(side: tuple[int, int]) -> int:
    """Pixels of the halo of a tile."""
    return 2 * (side[0] + side[1]) + 4


def fixed(layout: Layout, side: tuple[int, int], channels: int) -> dict[str, str]:
    """Macros that compile a variant of a kernel for one level of one layout."""
    return {**fixed_tile(side, channels, 0), "FIXED_GH": str(layout.rows), "FIXED_GW": str(layout.columns)}


def fixed_tile(side: tuple[int, int], channels: int, p: int) -> dict[str, str]:
    """Macros that compile a variant of a kernel for tiles of these sides."""
    values = {"QH": side[0], "QW": side[1], "C": channels, "P": p}
    return {f"FIXED_{name}": str(value) for name, value in values.items()}


def sample_frame(frame: Tensor, norm: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """uint8 [h, w, 3] normalised, as half [H, W, 4] and its 2x2 means, where tiles see it; fills the layout's `near`
    and `near_high`, where they are.
    """
    height, width, _ = frame.shape
    block = layout.side[0] * (1 if layout.whole else 2)
    rows, columns = layout.rows * block, layout.columns * (layout.side[1] if layout.whole else block)
    fine = torch.empty(rows, columns, 4, dtype=torch.float16, device=frame.device)
    coarse = torch.empty(rows // 2, columns // 2, 4, dtype=torch.float16, device=frame.device)
    arguments: list[Argument] = [frame, norm, fine, coarse, layout.near, layout.near_high, layout.blocks, layout.tiles]
    arguments += [layout.rows, layout.columns, layout.n_tiles, block, height, width, rows, columns, int(layout.whole)]
    launch("stem.cu", "sample_frame", ((columns // 4 + 127) // 128, rows // 2), 128, arguments, starts_early=True)
    return fine, coarse


def stem(frame: Tensor, norm: Tensor, weights: Weights, layout: Layout, *, pad: bool) -> tuple[Tensor, Tensor, Layout]:
    """uint8 [h, w, 3] -> the stem after ReLU and max pooling, [T, q, q, 64] at stride 4; the same padded if asked for;
    the layout, complete with `near` and `near_high`.
    """
    t, p, device = layout.n_tiles, layout.pad if pad else 0, frame.device
    if not layout.whole:
        layout = replace(layout, near=torch.empty(t, 8, dtype=torch.int32, device=device))
    if layout.mixed and any(block.high_only for level in weights.levels for block in level):
        layout = replace(layout, near_high=torch.empty(layout.first_low, 8, dtype=torch.int32, device=device))
    fine, coarse = sample_frame(frame, norm, layout)
    (oh, ow), (qh, qw) = layout.at(2), layout.at(4)
    edges = torch.empty(t, oh, ow, 64, dtype=torch.float16, device=device)
    pooled = torch.empty(t, qh, qw, 64, dtype=torch.float16, device=device)
    padded = torch.empty(t, qh + 2, qw + 2, 64, dtype=torch.float16, device=device) if p else pooled
    arguments: list[Argument] = [fine, coarse, weights.stem, weights.stem_bias, edges, pooled, padded, layout.tiles]
    arguments += [layout.rows, layout.columns, oh, ow, *fine.shape[:2], t, p, int(layout.whole)]
    steps = t * (oh // 16) * (ow // 16)
    launch("stem.cu", "stem", (min(steps, STEM_BLOCKS), 1), 256, arguments, shared=STEM_SHARED, starts_early=True)
    pool_border(edges, pooled, padded, layout)
    return pooled, padded, layout


def pool_border(edges: Tensor, pooled: Tensor, padded: Tensor, layout: Layout) -> None:
    """Finish the stem's pooling: edges [T, 2q, 2q, C], pooled [T, q, q, C] and padded [T, q+2, q+2, C] (or
    pooled again), see glue.cu."""
    t, qh, qw, c = pooled.shape
    p = (padded.shape[1] - qh) // 2
    halo = blocks_for(t * ring_size((qh, qw)), c) if p else 0
    border = blocks_for(t * (qh // 8 * qw + (qh - qh // 8) * (qw // 8)), c)
    arguments: list[Argument] = [edges, pooled, padded, layout.near, t, halo, qh, qw, c, p]
    launch(
        "glue.cu",
        "pool_border",
        (halo + border, 1),
        THREADS,
        arguments,
        defines=fixed_tile((qh, qw), c, p),
        starts_early=True,
    )


def features(
    x: Tensor, layout: Layout, *, pad: bool, even: bool = False, norm: Norm | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What the next layers need of x [T, q, q, C]: padded, every second pixel, relu(norm(x)); None if not asked for.

    The dense network's convolutions pad by themselves: there `padded` is x.
    """
    t, qh, qw, c = x.shape
    p = layout.pad if pad else 0
    padded = x.new_empty(t, qh + 2 * p, qw + 2 * p, c) if p else None
    subset = x.new_empty(t, qh // 2, qw // 2, c) if even else None
    activated = torch.empty_like(x) if norm else None
    if padded is not None or even or norm:
        halo = blocks_for(t * ring_size((qh, qw)), c, HALO_COPIES) if p else 0
        arguments: list[Argument] = [x, padded, subset, activated]
        arguments += [norm.scale if norm else None, norm.shift if norm else None, layout.near, t, halo, qh, qw, c, p]
        grid = (halo + blocks_for(t * qh * qw, c, COPIES), 1)
        launch(
            "glue.cu", "pad_features", grid, THREADS, arguments, defines=fixed_tile((qh, qw), c, p), starts_early=True
        )
    return x if padded is None else padded, subset, activated


def put(x: Tensor, into: Tensor) -> None:
    """Copy features, both [T, q, q, C]. By a kernel of ours: of a driver's copy before one that starts early little is
    known.
    """
    t, qh, qw, c = x.shape
    arguments: list[Argument] = [x, into, None, None, None, None, None, t, 0, qh, qw, c, 0]
    grid = (blocks_for(t * qh * qw, c, COPIES), 1)
    launch("glue.cu", "pad_features", grid, THREADS, arguments, defines=fixed_tile((qh, qw), c, 0), starts_early=True)


def taps(
    x: Tensor,
    layout: Layout,
    *,
    stride: int = 1,
    added: Tensor | None = None,
    step: int = 1,
    norm: Norm | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The operand of a 3x3 layer as a matrix, and relu(norm(x)) if asked for; see kernels/taps.cu.

    Args:
        x: [T, q, q, C].
        stride: of the layer.
        added: [T, q * step, q * step, R], what is added to the layer's result; with it the layer's stride is 1.
        step: every which pixel of `added`.

    Returns:
        [T, q / stride, q / stride, 9 * C + R] and [T, q, q, C].
    """
    t, qh, qw, c = x.shape
    oh, ow, extra = qh // stride, qw // stride, 0 if added is None else added.shape[-1]
    out = x.new_empty(t, oh, ow, 9 * c + extra)
    activated = torch.empty_like(x) if norm else None
    halo, inner = (blocks_for(t * n, c, TAP_COPIES) for n in (ring_size((qh, qw)), qh * qw))
    arguments: list[Argument] = [x, added, out, activated]
    arguments += [norm.scale if norm else None, norm.shift if norm else None, layout.near, t, halo]
    arguments += [qh, qw, c, stride, extra, step]
    defines = {**fixed_tile((qh, qw), c, 0), "FIXED_S": str(stride), "FIXED_R": str(extra), "FIXED_A": str(step)}
    launch("taps.cu", "scatter_taps", (halo + inner, 1), THREADS, arguments, defines=defines, starts_early=True)
    return out, activated


def enlarge_add(
    x: Tensor, skip: Tensor, norm: Norm, layout: Layout, *, as_taps: bool = False, starts_early: bool = False
) -> Tensor:
    """relu(norm(enlarge(x) + skip)) as a 3x3 layer takes it: x [T, q/2, q/2, C], skip [T, q, q, C] -> padded, or
    `as_taps` [T, q, q, 9 * C]. `starts_early` as in `launch`.
    """
    t, qh, qw, c = skip.shape
    p = layout.pad
    out = x.new_empty(t, qh, qw, 9 * c) if as_taps else x.new_empty(t, qh + 2 * p, qw + 2 * p, c)
    halo = blocks_for(t * ring_size((qh, qw)), c) if p else 0
    border, inner = blocks_for(t * (qh + qw), c), blocks_for(t * (qh // 2 - 1) * (qw // 2 - 1), c)
    arguments: list[Argument] = [x, skip, out, norm.scale, norm.shift, layout.near, t, halo, border, qh, qw, c, p]
    arguments += [layout.edge, int(as_taps)]
    grid = (halo + border + inner, 1)
    defines = {**fixed_tile((qh, qw), c, p), "FIXED_EDGE": str(layout.edge), "FIXED_TAPS": str(int(as_taps))}
    launch("glue.cu", "enlarge_add", grid, THREADS, arguments, defines=defines, starts_early=starts_early)
    return out


def pool_columns(layout: Layout, side: tuple[int, int]) -> list[int]:
    """Columns of the pyramid's levels, by the shape of the canvas."""
    height, width = layout.rows * side[0], layout.columns * side[1]
    return [max(1, round(rows * width / height)) for rows in POOL_GRIDS]


def pyramid_input(x: Tensor, weights: Pyramid, layout: Layout) -> Tensor:
    """relu(norm(concat(x, pooled levels enlarged))): [T, q, q, C] -> [T, q, q, padded width]."""
    t, qh, qw, c = x.shape
    columns = pool_columns(layout, (qh, qw))
    cells = sum(rows * n for rows, n in zip(POOL_GRIDS, columns, strict=True))
    width, total, fine = weights.level.shape[-1], weights.fuse.shape[0], int(layout.fine)
    pooled = torch.empty(cells, width, dtype=torch.float32, device=x.device)
    arguments: list[Argument] = [x, weights.level_norm.scale, weights.level_norm.shift, weights.level, pooled]
    arguments += [layout.blocks, layout.rows, layout.columns, qh, qw, c, width, fine, *columns]
    launch("spp.cu", "pool_cells", (cells, 1), 512, arguments, defines=fixed(layout, (qh, qw), c), starts_early=True)
    out = x.new_empty(t, qh, qw, total)
    arguments = [x, pooled, weights.fuse_norm.scale, weights.fuse_norm.shift, out]
    arguments += [*layout.arguments((qh, qw)), c, width, total, fine, *columns]
    defines = fixed(layout, (qh, qw), c)
    grid = grid_for(qh * qw, total, t, vec=1)
    launch("spp.cu", "pyramid", grid, THREADS, arguments, defines=defines, starts_early=True)
    return out


def frame_logits(x: Tensor, weights: Weights, layout: Layout) -> Tensor:
    """The last layer and BlockCombine of one image: [T, q, q, C] -> [GH*2q, GW*2q, padded classes]."""
    if weights.subpixel is None or layout.whole or layout.first_low == layout.n_tiles:
        return combine(class_logits(x, weights), layout)
    return place_logits(x, weights, layout)


def place_logits(x: Tensor, weights: Weights, layout: Layout) -> Tensor:
    """`frame_logits` where low tiles have a last layer of their own, which makes 2x2 pixels of each."""
    t, qh, qw, c = x.shape
    columns, first_low = weights.classes.shape[1], layout.first_low
    high, low = (-(-tiles * qh * qw // LOGIT_ROWS) for tiles in (first_low, t - first_low))
    out = x.new_empty(2 * layout.rows * qh, 2 * layout.columns * qw, columns)
    arguments: list[Argument] = [x, weights.class_norm.scale, weights.class_norm.shift, weights.classes]
    arguments += [weights.class_bias, weights.subpixel, weights.subpixel_bias, out, layout.tiles, layout.rows]
    arguments += [layout.columns, t, first_low, high, qh, qw, c, columns]
    defines = {**fixed(layout, (qh, qw), columns), "FIXED_DEPTH": str(c), "CLASS_COLUMNS": str(min(columns, 32))}
    launch("labels.cu", "place_logits", (high + low, 1), 256, arguments, defines=defines, starts_early=True)
    return out


def class_logits(x: Tensor, weights: Weights) -> Tensor:
    """The last layer: [T, q, q, C] -> [T, q, q, padded classes]."""
    t, qh, qw, c = x.shape
    rows, columns = t * qh * qw, weights.classes.shape[1]
    out = x.new_empty(t, qh, qw, columns)
    arguments: list[Argument] = [x, weights.class_norm.scale, weights.class_norm.shift, weights.classes]
    arguments += [weights.class_bias, out, rows, c, columns]
    together = min(columns, 32)
    defines = {"FIXED_DEPTH": str(c), "CLASS_COLUMNS": str(together)}
    launch(
        "labels.cu",
        "class_logits",
        (-(-rows // LOGIT_ROWS), columns // together),
        256,
        arguments,
        defines=defines,
        starts_early=True,
    )
    return out


def combine(x: Tensor, layout: Layout) -> Tensor:
    """BlockCombine of one image: [T, q, q, C] -> [GH*2q, GW*2q, C]."""
    t, qh, qw, c = x.shape
    if layout.whole:
        return x[0]
    out = x.new_empty(2 * layout.rows * qh, 2 * layout.columns * qw, c)
    first_low = layout.first_low
    border, inner = (blocks_for((t - first_low) * n, c) for n in (2 * (qh + qw), (qh - 1) * (qw - 1)))
    copies = blocks_for(first_low * qh * qw, c, COPIES)
    arguments: list[Argument] = [x, out, layout.near, layout.tiles, layout.rows, layout.columns, t, first_low]
    arguments += [border, copies, qh, qw, c, layout.edge]
    grid = (border + copies + inner, 1)
    defines = {**fixed(layout, (qh, qw), c), "FIXED_EDGE": str(layout.edge)}
    launch("glue.cu", "combine_tiles", grid, THREADS, arguments, defines=defines, starts_early=True)
    return out


def sample(x: Tensor, layout: Layout) -> Tensor:
    """BlockSample of one image's features: [GH*2q, GW*2q, C] -> [T, q, q, C]."""
    height, width, c = x.shape
    qh, qw = height // (2 * layout.rows), width // (2 * layout.columns)
    out = x.new_empty(layout.n_tiles, qh, qw, c)
    arguments: list[Argument] = [x, out, *layout.arguments((qh, qw)), c, 0, 0, 1, width * c, c]
    launch("blocks.cu", "block_sample", grid_for(qh * qw, c, layout.n_tiles), THREADS, arguments)
    return out


def frame_labels(logits: Tensor, out: Tensor, content: tuple[int, int], n_classes: int) -> None:
    """Class of every pixel of the frame: logits [h, w, padded classes] of stride 4 -> uint8 [H, W]."""
    height, width = out.shape
    _, pitch, columns = logits.shape
    runs = (width + 2 + 3) // 4
    grid = ((runs + 127) // 128, height)
    arguments: list[Argument] = [
        logits,
        out,
        height,
        width,
        content[0] // 4,
        content[1] // 4,
        pitch,
        columns,
        n_classes,
    ]
    launch("labels.cu", "frame_labels", grid, 128, arguments)
