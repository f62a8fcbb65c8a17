"""The kernels against their plain-torch twins and against the authors' tensors, forward and backward.

Tolerances: sums of at most a dozen products in float32, then one rounding to the tensor's type.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream import blocks as twin
from segstream.blocks import tiles as twin_tiles
from segstream.kernels import ops

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SHARES = (0.0, 0.4, 1.0)


def make_grid(n: int, rows: int, columns: int, share: float, seed: int = 0) -> twin.Grid:
    generator = torch.Generator().manual_seed(seed)
    count = n * rows * columns
    high = torch.zeros(count, dtype=torch.bool)
    high[torch.randperm(count, generator=generator)[: round(share * count)]] = True
    return twin.Grid(high.view(n, rows, columns), 64)


def tables(grid: twin.Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    return ops.grid_tables(grid.high.to(device), grid.place.to(device), grid.n_high)


def random(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 1) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.to(memory_format=torch.channels_last) if len(shape) == 4 else x


def same(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert got.shape == expected.shape
    assert got.dtype == dtype
    torch.testing.assert_close(got.cpu().float(), expected.float(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def against_twin(kernel, plain, x: Tensor, device: torch.device) -> None:
    """Forward and backward of `kernel` on the device in x's type against `plain` on the CPU in float32."""
    wide = x.float().clone().requires_grad_()
    expected = plain(wide)
    narrow = x.to(device).detach().requires_grad_()
    got = kernel(narrow)
    same(got, expected, x.dtype)
    grad = random(tuple(expected.shape), x.dtype, seed=2)
    expected.backward(grad.float())
    got.backward(grad.to(device))
    assert narrow.grad is not None and wide.grad is not None
    same(narrow.grad, wide.grad, x.dtype)


def test_tables_agree_with_the_grid(device: torch.device) -> None:
    grid = make_grid(2, 3, 5, 0.4)
    got_blocks, got_tiles = tables(grid, device)
    assert torch.equal(got_blocks.cpu(), grid.first_tile() * 2 + grid.high.int())
    # Each tile points back at its block.
    position = got_tiles.cpu() >> 1
    rows, columns = position // 10, position % 10
    owner = (rows // 2 * 5 + columns // 2).long()
    assert torch.equal(grid.high.reshape(-1)[owner], (got_tiles.cpu() & 1).bool())
    offset = torch.where(grid.high.reshape(-1)[owner], rows % 2 * 2 + columns % 2, 0)
    assert torch.equal(grid.first_tile().reshape(-1)[owner] + offset, torch.arange(grid.n_tiles))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("edge", ["zeros", "replicate"])
@pytest.mark.parametrize(("q", "p"), [(1, 1), (2, 1), (4, 2), (4, 3), (6, 1), (8, 8)])
def test_pad(device: torch.device, share: float, edge: str, q: int, p: int) -> None:
    grid = make_grid(2, 3, 2, share)
    x = random((grid.n_tiles, 4, q, q), torch.float32)
    on = tables(grid, device)
    against_twin(
        lambda x: ops.block_pad(x, *on, p, ops.EDGES[edge]), lambda x: twin.pad(x, grid, p, edge=edge), x, device
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 8, 19, 42, 64])
def test_pad_in_half_precision_and_odd_channels(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    grid = make_grid(1, 3, 5, 0.5)
    x = random((grid.n_tiles, channels, 4, 4), dtype)
    on = tables(grid, device)
    against_twin(lambda x: ops.block_pad(x, *on, 1, 0), lambda x: twin.pad(x, grid, 1), x, device)


@pytest.mark.parametrize("q", [3, 5, 7])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_odd_sides_where_all_blocks_are_alike(device: torch.device, q: int, share: float) -> None:
    grid = make_grid(1, 2, 3, share)
    x = random((grid.n_tiles, 8, q, q), torch.float32)
    on = tables(grid, device)
    against_twin(lambda x: ops.block_pad(x, *on, 2, 0), lambda x: twin.pad(x, grid, 2), x, device)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seamless", [True, False])
@pytest.mark.parametrize("q", [1, 2, 4])
def test_enlarge_and_combine(device: torch.device, share: float, seamless: bool, q: int) -> None:
    grid = make_grid(2, 2, 3, share)
    x = random((grid.n_tiles, 8, q, q), torch.float32)
    on, edge = tables(grid, device), ops.EDGES["replicate" if seamless else "block"]
    against_twin(lambda x: ops.block_enlarge(x, *on, edge), lambda x: twin_tiles.enlarge(x, grid, seamless), x, device)
    against_twin(lambda x: ops.block_combine(x, *on, edge), lambda x: twin.combine(x, grid, seamless), x, device)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("channels", [3, 16])
def test_sample(device: torch.device, dtype: torch.dtype, share: float, channels: int) -> None:
    grid = make_grid(2, 2, 3, share)
    on = tables(grid, device)
    x = random((2, channels, 2 * 8, 3 * 8), dtype)
    against_twin(lambda x: ops.block_sample(x, *on), lambda x: twin.sample(x, grid), x, device)
    for picture in (x, x.contiguous()):  # channels last, and planes
        same(ops.block_sample(picture.to(device), *on, 3), twin.sample(x.float(), grid, halo=3), dtype)


def test_sizes_that_do_not_fit_are_refused(device: torch.device) -> None:
    grid = make_grid(1, 2, 2, 0.5)
    on = tables(grid, device)
    with pytest.raises(ValueError, match=r"tiles must be \[10, C, q, q\]"):
        ops.block_pad(torch.zeros(9, 4, 4, 4, device=device), *on, 1, 0)
    with pytest.raises(ValueError, match="at most 4 pixels"):
        ops.block_pad(torch.zeros(10, 4, 4, 4, device=device), *on, 5, 0)
    with pytest.raises(ValueError, match="does not fit a grid"):
        ops.block_sample(torch.zeros(1, 3, 30, 32, device=device), *on)


@pytest.mark.parametrize("case", range(5))
def test_against_the_authors_tensors(device: torch.device, shared: Path, case: int) -> None:
    """BlockSample, BlockPad and block-local BlockCombine with their gradient, as the authors' code computes them."""
    file = np.load(shared / "reference" / "blockops.npz")

    def read(name: str) -> Tensor:
        return torch.from_numpy(file[f"case{case}/{name}"])

    high, p, block = read("grid"), int(file[f"case{case}/pad"]), int(file[f"case{case}/block"])
    grid, x = twin.Grid(high, block), read("x")
    on = tables(grid, device)
    leaf = x.to(device).requires_grad_()
    tiles = ops.block_sample(leaf, *on)
    loss = torch.zeros((), device=device)
    combined = ops.block_combine(tiles, *on, ops.EDGES["block"])
    same(combined, read("combined"), torch.float32)
    loss = loss + (combined * read("grad_combined").to(device)).sum()
    padded = ops.block_pad(tiles, *on, p, 0)
    # The authors pad a high block as one piece; the four tiles of it together hold the same pixels.
    if grid.n_high:
        q = block // 2
        got = whole_blocks(padded[: 4 * grid.n_high], q, p)
        same(got, read("high_padded"), torch.float32)
        loss = loss + (got * read("grad_high_padded").to(device)).sum()
    if grid.n_low:
        got = padded[4 * grid.n_high :]
        same(got, read("low_padded"), torch.float32)
        loss = loss + (got * read("grad_low_padded").to(device)).sum()
    loss.backward()
    assert leaf.grad is not None
    same(leaf.grad, read("grad_x"), torch.float32)


def whole_blocks(padded: Tensor, q: int, p: int) -> Tensor:
    """Padded tiles of high blocks [4*Nh, C, q+2p, q+2p] as padded blocks [Nh, C, 2q+2p, 2q+2p]."""
    a, b, c, d = padded.unflatten(0, (-1, 4)).unbind(1)
    top = torch.cat([a[..., : q + p, : q + p], b[..., : q + p, p:]], -1)
    bottom = torch.cat([c[..., p:, : q + p], d[..., p:, p:]], -1)
    return torch.cat([top, bottom], -2)


def test_torch_compile_works_around_the_kernels(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("compiling takes too long for the CPU suite")
    grid = make_grid(1, 2, 3, 0.4)
    on = tables(grid, device)
    conv = torch.nn.Conv2d(8, 8, 3).to(device)

    def step(x: Tensor) -> Tensor:
        return F.relu(conv(ops.block_pad(x, *on, 1, 0)))

    x = random((grid.n_tiles, 8, 4, 4), torch.float32).to(device)
    torch.testing.assert_close(torch.compile(step)(x), step(x), rtol=1e-4, atol=1e-4)
