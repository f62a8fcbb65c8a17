"""Layers on tiles in training: what they keep for the backward pass, and that their gradients do not suffer from it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks import Grid
from segstream.blocks.layers import convolve, max_pool
from segstream.blocks.tiles import pad
from segstream.models.swiftnet import SwiftNet


def make_grid(share: float, rows: int, columns: int, block: int) -> Grid:
    high = torch.zeros(rows * columns, dtype=torch.bool)
    high[torch.randperm(high.numel(), generator=torch.Generator().manual_seed(1))[: round(share * high.numel())]] = True
    return Grid(high.view(1, rows, columns), block)


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return [grad.clone() for grad in torch.autograd.grad(loss, of)]


def test_gradients_are_those_of_padding_kept() -> None:
    torch.manual_seed(0)
    grid = make_grid(0.4, 3, 4, 64)
    conv = nn.Conv2d(8, 8, 3, padding=1).double()
    x = torch.randn(grid.n_tiles, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 8, 4, 4, dtype=torch.float64)

    def loss(out: Tensor) -> Tensor:
        return (
            (out * weight[:, :, : out.shape[-1], : out.shape[-1]].mean((0, 2, 3))[None, :, None, None]).square().sum()
        )

    kept = F.conv2d(pad(x, grid, 1), conv.weight, conv.bias)
    expected = gradients(loss(kept), x, conv.weight)
    for got, wanted in zip(gradients(loss(convolve(conv, x, grid)), x, conv.weight), expected, strict=True):
        torch.testing.assert_close(got, wanted)
    kept = F.max_pool2d(pad(x.relu(), grid, 1), 3, 2)
    torch.testing.assert_close(gradients(loss(max_pool(x.relu(), 3, 2, grid)), x), gradients(loss(kept), x))


def kept_bytes(network: SwiftNet, x: Tensor, grid: Grid | None) -> int:
    """Bytes of the tensors that the forward pass keeps for the backward pass, parameters aside."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    storages = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = network(x, grid)
    assert out.requires_grad  # the graph is still there, so no address was given out twice
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize(("block", "height", "width"), [(64, 128, 320), (128, 128, 640)])
def test_training_with_blocks_keeps_less_than_dense_training(block: int, height: int, width: int) -> None:
    network = SwiftNet("resnet18", 11).train()
    x = torch.randn(1, 3, height, width)
    grid = make_grid(0.4, height // block, width // block, block)
    assert kept_bytes(network, x, grid) < 0.62 * kept_bytes(network, x, None)
