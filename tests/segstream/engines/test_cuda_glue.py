"""The engine's kernels between the convolutions, value by value against plain torch on tiles: several sides and grids.

Each test runs twice: on a GPU (mark cuda), and with the kernels compiled as C++ on the CPU. Halves are compared after
one rounding of results up to about 8, or two where BlockPad averages rounded values.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream import blocks as twin
from segstream.blocks import Grid
from segstream.blocks.tiles import enlarge
from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_weights import Norm, pack
from segstream.kernels import launcher
from segstream.kernels.ops import grid_tables
from segstream.models.swiftnet import SwiftNet, combine_subpixel
from tests.gpu import need_gpu

SHARES = (0.0, 0.4, 1.0)


def make_grid(share: float) -> Grid:
    high = torch.zeros(12, dtype=torch.bool)
    high[torch.randperm(12, generator=torch.Generator().manual_seed(2))[: round(share * 12)]] = True
    return Grid(high.view(1, 3, 4), 64)


def near_table(grid: Grid) -> Tensor:
    """What lies around each tile, int32 [T, 8], from the grid's own numbering; the codes of kernels/common.cuh."""
    high, first = grid.high[0], grid.first_tile()[0]
    rows, columns = high.shape
    table = torch.full((grid.n_tiles, 8), -1, dtype=torch.int32)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    for gy, gx in torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).tolist():
        own, per = int(first[gy, gx]), 2 if high[gy, gx] else 1
        for t in range(per * per):
            for d, (dy, dx) in enumerate(around):
                y, x = per * gy + t // per + dy, per * gx + t % per + dx
                if not (0 <= y < per * rows and 0 <= x < per * columns):
                    continue
                by, bx, quarter = y // per, x // per, 2 * (y % 2) + x % 2
                there, alike = int(first[by, bx]), bool(high[by, bx]) == bool(high[gy, gx])
                if alike:
                    there, kind = there + (quarter if per == 2 else 0), 2 if (by, bx) == (gy, gx) else 0
                else:
                    kind = 4 + quarter if per == 2 else 1
                table[own + t, d] = 8 * there + kind
    return table


def high_table(near: Tensor, grid: Grid) -> Tensor:
    """The part of `near_table` that is for high tiles, [4 * Nh, 8], with nothing where a low tile lies."""
    near = near[: 4 * grid.n_high]
    return torch.where(near >= 8 * 4 * grid.n_high, -1, near)


def layout_of(grid: Grid, side: int, device: torch.device, seamless: bool = True) -> glue.Layout:
    blocks, tiles = grid_tables(grid.high.to(device), grid.place.to(device), grid.n_high)
    near = near_table(grid)
    return glue.Layout(
        blocks=blocks,
        tiles=tiles,
        rows=3,
        columns=4,
        n_tiles=grid.n_tiles,
        side=(side, side),
        fine=grid.n_high > 0,
        seamless=seamless,
        whole=False,
        near=near.to(device),
        near_high=high_table(near, grid).to(device),
    )


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half()


def make_norm(channels: int, device: torch.device) -> Norm:
    return Norm(random(channels, seed=5).float().abs().to(device), random(channels, seed=6).float().to(device))


def same(got: Tensor, expected: Tensor) -> None:
    """Tiles of the device [T, q, q, C] against plain ones [T, C, q, q]."""
    torch.testing.assert_close(got.permute(0, 3, 1, 2).cpu().float(), expected, rtol=2e-3, atol=4e-3)


def plain_taps(padded: Tensor, stride: int) -> Tensor:
    """[T, C, q+2, q+2] -> [T, 9 * C, q / stride, q / stride], tap by tap."""
    t, channels, side, _ = padded.shape
    side = (side - 2) // stride
    return F.unfold(padded, 3, stride=stride).view(t, channels, 9, side, side).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize("share", SHARES)
def test_what_lies_around_a_tile(device: torch.device, share: float) -> None:
    grid = make_grid(share)
    layout = layout_of(grid, 32, device)
    frame = torch.zeros(3 * 64, 4 * 64, 3, dtype=torch.uint8, device=device)
    near = torch.zeros(grid.n_tiles, 8, dtype=torch.int32, device=device)
    near_high = torch.zeros(4 * grid.n_high, 8, dtype=torch.int32, device=device)
    for high in (None, near_high):
        glue.sample_frame(frame, torch.ones(6, device=device), replace(layout, near=near, near_high=high))
        assert torch.equal(near.cpu(), near_table(grid))
        near.zero_()
    assert torch.equal(near_high.cpu(), high_table(near_table(grid), grid))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("q", [8, 16])
def test_pool_border(device: torch.device, share: float, q: int) -> None:
    """From what the stem leaves: pooled within 16x16 pixels, of which the last two rows and columns are kept."""
    grid, n = make_grid(share), q // 8
    x = random(grid.n_tiles, 64, 2 * q, 2 * q).relu()
    steps = x.float().view(-1, n, 16, n, 16).transpose(2, 3).reshape(-1, 1, 16, 16)
    pooled = F.max_pool2d(steps, 3, 2, 1).view(-1, 64, n, n, 8, 8).transpose(3, 4).reshape(-1, 64, q, q)
    kept = (torch.arange(2 * q) % 16 >= 14).expand(2 * q, -1)
    edges = torch.where(kept | kept.t(), x, 999)
    rows = [t.half().permute(0, 2, 3, 1).contiguous().to(device) for t in (edges, pooled, F.pad(pooled, (1, 1, 1, 1)))]
    glue.pool_border(rows[0], rows[1], rows[2], layout_of(grid, 4 * q, device))
    expected = F.max_pool2d(twin.pad(x.float(), grid, 1), 3, 2)
    same(rows[1], expected)
    same(rows[2], twin.pad(expected, grid, 1))


@pytest.mark.parametrize("share", [None, *SHARES])
@pytest.mark.parametrize(("side", "pad"), [(32, True), (64, True), (64, False)])
def test_stem(device: torch.device, share: float | None, side: int, pad: bool) -> None:
    """Frame to pooled stem, the whole picture as one tile (None) included, against the plain stem in float32."""
    torch.manual_seed(0)
    network = SwiftNet("resnet18", 19).eval()
    encoder, rows, columns = network.encoder, 6 * side, 8 * side
    frame = torch.randint(0, 256, (rows, columns, 3), dtype=torch.uint8)
    x = (frame.permute(2, 0, 1)[None].float() - 128) / 64
    grid = None if share is None else make_grid(share)
    with torch.inference_mode():
        if grid is None:
            layout = glue.dense_layout((rows, columns), device)
            expected = F.max_pool2d(encoder.bn1(F.conv2d(x, encoder.conv1.weight, None, 2, 3)).relu(), 3, 2, 1)
        else:
            layout = layout_of(grid, side, device)
            features = encoder.bn1(F.conv2d(twin.sample(x, grid, halo=3), encoder.conv1.weight, None, 2)).relu()
            expected = F.max_pool2d(twin.pad(features, grid, 1), 3, 2)
        norm = torch.tensor([128.0] * 3 + [1 / 64] * 3, device=device)
        pooled, padded, _ = glue.stem(frame.to(device), norm, pack(network, device), layout, pad=pad)
    for got, wanted in ((pooled, expected), (padded, twin.pad(expected, grid, 1) if grid and pad else expected)):
        torch.testing.assert_close(got.permute(0, 3, 1, 2).cpu().float(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("q", "channels"), [(1, 512), (2, 256), (4, 128), (8, 64)])
def test_features(device: torch.device, share: float, q: int, channels: int) -> None:
    grid, norm = make_grid(share), make_norm(channels, device)
    x = random(grid.n_tiles, channels, q, q)
    rows = x.permute(0, 2, 3, 1).contiguous().to(device)
    padded, even, activated = glue.features(rows, layout_of(grid, 4 * q, device), pad=True, even=q > 1, norm=norm)
    same(padded, twin.pad(x.float(), grid, 1))
    if even is not None:
        same(even, x.float()[:, :, ::2, ::2])
    assert activated is not None
    scale, shift = (t.cpu()[:, None, None] for t in (norm.scale, norm.shift))
    same(activated, (x.float() * scale + shift).relu())


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    ("q", "channels", "stride", "extra", "step"),
    [
        (4, 128, 1, 0, 1),
        (1, 256, 1, 256, 1),
        (2, 64, 1, 64, 1),
        (4, 64, 1, 24, 2),
        (8, 128, 2, 0, 1),
        (2, 512, 2, 0, 1),
    ],
)
def test_taps(device: torch.device, share: float, q: int, channels: int, stride: int, extra: int, step: int) -> None:
    """Nine taps of every output pixel, by the plain padding of tiles, and the channels that are added."""
    grid, norm = make_grid(share), make_norm(channels, device)
    x = random(grid.n_tiles, channels, q, q)
    added = random(grid.n_tiles, extra, q * step, q * step, seed=7) if extra else None
    rows, other = (None if t is None else t.permute(0, 2, 3, 1).contiguous().to(device) for t in (x, added))
    assert rows is not None
    layout = layout_of(grid, 4 * q, device)
    taps, activated = glue.taps(rows, layout, stride=stride, added=other, step=step, norm=norm if stride == 2 else None)
    expected = plain_taps(twin.pad(x.float(), grid, 1), stride)
    if added is not None:
        expected = torch.cat((expected, added.float()[:, :, ::step, ::step]), 1)
    same(taps, expected)
    if stride == 2:
        scale, shift = (t.cpu()[:, None, None] for t in (norm.scale, norm.shift))
        assert activated is not None
        same(activated, (x.float() * scale + shift).relu())


def among_high(x: Tensor, grid: Grid) -> Tensor:
    """Tiles [T, C, q, q] with zeros in the low ones, as float."""
    return torch.cat((x[: 4 * grid.n_high], torch.zeros_like(x[4 * grid.n_high :]))).float()


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize(("q", "channels"), [(1, 512), (2, 256), (8, 64)])
def test_high_tiles_alone(device: torch.device, share: float, q: int, channels: int) -> None:
    """Padding and taps for high tiles, of features that low ones have too, and of such that they have not."""
    grid, first_low = make_grid(share), 4 * make_grid(share).n_high
    layout = layout_of(grid, 4 * q, device)
    x, added = random(grid.n_tiles, channels, q, q), random(first_low, channels, q, q, seed=7)
    rows, other = (t.permute(0, 2, 3, 1).contiguous().to(device) for t in (x, added))
    high = rows[:first_low].clone()
    seen, unseen = twin.pad(x.float(), grid, 1)[:first_low], twin.pad(among_high(x, grid), grid, 1)[:first_low]
    same(glue.features(rows[:first_low], layout, pad=True)[0], seen)
    same(glue.features(high, layout.among_high, pad=True)[0], unseen)
    same(glue.taps(rows[:first_low], layout)[0], plain_taps(seen, 1))
    taps = glue.taps(high, layout.among_high, added=other)[0]
    same(taps, torch.cat((plain_taps(unseen, 1), added.float()), 1))


def test_put(device: torch.device) -> None:
    x, into = random(3, 4, 4, 24).to(device), random(5, 4, 4, 24, seed=2).to(device)
    expected = torch.cat((x, into[3:]))
    glue.put(x, into[:3])
    assert torch.equal(into, expected)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seamless", [True, False])
@pytest.mark.parametrize(("q", "as_taps"), [(2, False), (4, False), (8, False), (16, False), (2, True), (4, True)])
def test_enlarge_and_add(device: torch.device, share: float, seamless: bool, q: int, as_taps: bool) -> None:
    grid, norm = make_grid(share), make_norm(64, device)
    x, skip = random(grid.n_tiles, 64, q // 2, q // 2), random(grid.n_tiles, 64, q, q, seed=3)
    rows, skip_rows = (t.permute(0, 2, 3, 1).contiguous().to(device) for t in (x, skip))
    got = glue.enlarge_add(rows, skip_rows, norm, layout_of(grid, 4 * q, device, seamless), as_taps=as_taps)
    scale, shift = (t.cpu()[:, None, None] for t in (norm.scale, norm.shift))
    value = ((enlarge(x.float(), grid, seamless) + skip.float()) * scale + shift).relu()
    padded = twin.pad(value, grid, 1)
    same(got, plain_taps(padded, 1) if as_taps else padded)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seamless", [True, False])
@pytest.mark.parametrize("q", [1, 2, 8, 16])
def test_combine(device: torch.device, share: float, seamless: bool, q: int) -> None:
    grid = make_grid(share)
    x = random(grid.n_tiles, 32, q, q)
    got = glue.combine(x.permute(0, 2, 3, 1).contiguous().to(device), layout_of(grid, 4 * q, device, seamless))
    same(got[None], twin.combine(x.float(), grid, seamless))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("q", "classes"), [(8, 11), (8, 40), (16, 19)])
def test_last_layer_of_low_blocks_of_their_own(device: torch.device, share: float, q: int, classes: int) -> None:
    """Logits in their places, the padded classes included, which are 0."""
    torch.manual_seed(0)
    grid, network = make_grid(share), SwiftNet("resnet18", classes, subpixel=True).eval()
    network.logits.norm.weight.data.uniform_(0.5, 1.5)
    network.logits.norm.bias.data.normal_()
    x = random(grid.n_tiles, 128, q, q)
    with torch.inference_mode():
        weights = pack(network, device)
        rows = x.permute(0, 2, 3, 1).contiguous().to(device)
        got = glue.frame_logits(rows, weights, layout_of(grid, 4 * q, device))
        assert network.subpixel is not None
        expected = combine_subpixel(network.logits, network.subpixel, x.float(), grid)
    padded = F.pad(expected, (0, 0, 0, 0, 0, got.shape[-1] - classes))
    torch.testing.assert_close(got[None].permute(0, 3, 1, 2).cpu().float(), padded, rtol=5e-3, atol=5e-3)


@pytest.mark.cuda
def test_kernels_that_start_early_wait_for_each_other() -> None:
    """A chain in which each kernel needs all of the one before, in a graph, against the same one by one."""
    need_gpu()
    device = torch.device("cuda")
    grid, q = make_grid(0.4), 16
    layout, norm = layout_of(grid, 4 * q, device), make_norm(64, device)
    x = random(grid.n_tiles, 64, q, q).permute(0, 2, 3, 1).contiguous().to(device)

    def chain(x: Tensor) -> Tensor:
        for _ in range(30):
            padded, _, _ = glue.features(x, layout, pad=True)
            _, _, activated = glue.features(padded, layout, pad=False, norm=norm)
            assert activated is not None
            x = activated[:, :-2, :-2].flip(0).contiguous() / 2
        return x

    def bare(x: Tensor) -> Tensor:
        for _ in range(60):
            _, _, activated = glue.features(x, layout, pad=False, norm=norm)
            assert activated is not None
            x = activated
        return x

    stream = launcher.new_stream(torch.cuda.current_device())
    for body in (chain, bare):
        expected = body(x)
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            body(x)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                got = body(x)
            for _ in range(20):
                graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(got, expected)
