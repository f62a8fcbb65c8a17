"""Run the block operations of training on the project's CUDA kernels where they work, else by plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segstream.blocks import Grid, layers, tiles
from segstream.models import resnet, swiftnet


class Tables:
    """A grid's tables for the kernels, made once a grid."""

    def __init__(self) -> None:
        self.grid: Grid | None = None
        self.tables: tuple[Tensor, Tensor] | None = None

    def of(self, grid: Grid) -> tuple[Tensor, Tensor]:
        from segstream.kernels import ops

        if self.grid is not grid or self.tables is None:
            self.tables = ops.grid_tables(grid.high, grid.place, grid.n_high)
            self.grid = grid
        return self.tables


def use_kernels(say: Callable[[str], None]) -> bool:
    """Put the kernels in the place of BlockSample, BlockPad, enlargement and BlockCombine for CUDA tensors.

    They are first held against plain torch, forward and backward. Returns whether they are in use; `say` tells.
    """
    try:
        from segstream.kernels import launcher, ops
    except ImportError as error:
        say(f"block operations: plain torch (the kernels cannot be imported: {error})")
        return False
    reason = launcher.problem()
    if reason:
        say(f"block operations: plain torch ({reason})")
        return False
    cache = Tables()

    def pad(x: Tensor, grid: Grid, p: int, edge: str = "zeros") -> Tensor:
        if not x.is_cuda:
            return tiles.pad(x, grid, p, edge)
        return ops.block_pad(x, *cache.of(grid), p, ops.EDGES[edge])

    def enlarge(x: Tensor, grid: Grid, seamless: bool = True) -> Tensor:
        if not x.is_cuda:
            return tiles.enlarge(x, grid, seamless)
        return ops.block_enlarge(x, *cache.of(grid), ops.EDGES["replicate" if seamless else "block"])

    def combine(x: Tensor, grid: Grid, seamless: bool = True) -> Tensor:
        if not x.is_cuda:
            return tiles.combine(x, grid, seamless)
        return ops.block_combine(x, *cache.of(grid), ops.EDGES["replicate" if seamless else "block"])

    def sample(x: Tensor, grid: Grid, halo: int = 0) -> Tensor:
        if not x.is_cuda or (halo and x.requires_grad):
            return tiles.sample(x, grid, halo)
        return ops.block_sample(x, *cache.of(grid), halo)

    try:
        worst = compare(sample, pad, enlarge, combine)
    except Exception as error:  # whatever a driver or a compiler raises, training can go on without kernels
        say(f"block operations: plain torch (the kernels failed: {type(error).__name__}: {error})")
        return False
    if worst > 0.02:
        say(f"block operations: plain torch (the kernels differ by {worst:.3g})")
        return False
    replacements = [(layers, "pad", pad), (layers, "enlarge", enlarge), (layers, "sample", sample)]
    replacements += [(resnet, "sample", sample), (swiftnet, "combine", combine), (swiftnet, "sample", sample)]
    for module, name, function in replacements:
        setattr(module, name, function)
    say(f"block operations: CUDA kernels (largest difference to plain torch {worst:.2g})")
    return True


def compare(
    sample: Callable[..., Tensor],
    pad: Callable[..., Tensor],
    enlarge: Callable[..., Tensor],
    combine: Callable[..., Tensor],
) -> float:
    """Largest relative difference of the kernels to plain torch on a small random case, gradients included."""
    generator = torch.Generator("cuda").manual_seed(0)
    high = torch.rand(2, 3, 4, device="cuda", generator=generator) < 0.4
    grid = Grid(high, 64)
    image = torch.randn(2, 3, 192, 256, device="cuda", generator=generator).bfloat16()
    first = torch.randn(2, 16, 48, 64, device="cuda", generator=generator).bfloat16()
    first = first.to(memory_format=torch.channels_last)

    def results(s: Callable[..., Tensor], p: Callable[..., Tensor], e: Callable[..., Tensor], c: Callable[..., Tensor]):  # type: ignore[no-untyped-def]
        x = first.clone().requires_grad_()
        t = s(x, grid)
        parts = [p(t, grid, 1), e(t, grid), c(t, grid)]
        sum((part.float() ** 2).mean() for part in parts).backward()  # type: ignore[union-attr]
        return [s(image, grid, 3), *(part.detach() for part in parts), x.grad]

    expected = results(tiles.sample, tiles.pad, tiles.enlarge, tiles.combine)
    found = results(sample, pad, enlarge, combine)
    return max(float((a.float() - b.float()).norm() / b.float().norm()) for a, b in zip(found, expected, strict=True))
