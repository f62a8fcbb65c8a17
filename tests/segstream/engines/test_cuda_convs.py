"""The engine's own layers, value by value against plain torch on tiles. As in test_cuda_glue, also without a GPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segstream import blocks as twin
from segstream.engines.cuda_convs import as_matrix, by_tiles, taps_conv, tile_conv
from segstream.engines.cuda_glue import taps
from segstream.engines.cuda_weights import Packer
from tests.segstream.engines.test_cuda_glue import SHARES, among_high, layout_of, make_grid, make_norm, random, same


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("addition", [False, True])
@pytest.mark.parametrize("q", [8, 16])
def test_64_channels_on_tiles(device: torch.device, share: float, addition: bool, q: int) -> None:
    if device.type == "cuda" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("this GPU is no Hopper")
    grid, plain = make_grid(share), nn.Conv2d(64, 64, 3, padding=1)
    x, added = random(grid.n_tiles, 64, q, q), random(grid.n_tiles, 64, q, q, seed=3)
    weight, bias = random(64, 64, 3, 3, seed=8) / 24, random(64, seed=9)
    conv = Packer(device).conv(weight, bias, plain)
    layout = layout_of(grid, 4 * q, device)
    assert by_tiles(conv, layout)
    rows, added_rows = (t.permute(0, 2, 3, 1).contiguous().to(device) for t in (x, added))
    norm = make_norm(64, device)
    got, activated = tile_conv(rows, conv, layout, added_rows if addition else None, norm if addition else None)
    expected = F.conv2d(twin.pad(x.float(), grid, 1), weight.float(), bias.float())
    expected = F.relu(expected + added.float() if addition else expected)
    same(got, expected)
    if addition:
        scale, shift = (t.cpu()[:, None, None] for t in (norm.scale, norm.shift))
        assert activated is not None
        torch.testing.assert_close(
            activated.permute(0, 3, 1, 2).cpu().float(), (expected * scale + shift).relu(), rtol=4e-3, atol=1e-2
        )


@pytest.mark.parametrize("q", [8, 16])
def test_64_channels_on_high_tiles_alone(device: torch.device, q: int) -> None:
    """Features that low tiles have too, and such that they have not, in the place of what is added to the layer."""
    if device.type == "cuda" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("this GPU is no Hopper")
    grid = make_grid(0.4)
    first_low = 4 * grid.n_high
    x, added = random(grid.n_tiles, 64, q, q), random(grid.n_tiles, 64, q, q, seed=3)
    weight, bias = random(64, 64, 3, 3, seed=8) / 24, random(64, seed=9)
    conv, layout = Packer(device).conv(weight, bias, nn.Conv2d(64, 64, 3, padding=1)), layout_of(grid, 4 * q, device)
    rows, place = (t.permute(0, 2, 3, 1).contiguous().to(device) for t in (x, added))
    plain = [F.conv2d(twin.pad(t, grid, 1), weight.float(), bias.float()) for t in (x.float(), among_high(x, grid))]
    same(tile_conv(rows[:first_low], conv, layout, None, None)[0], F.relu(plain[0][:first_low]))
    got, _ = tile_conv(rows[:first_low].clone(), conv, layout.among_high, place[:first_low], None, place[:first_low])
    assert got.data_ptr() == place.data_ptr()
    same(place[:first_low], F.relu(plain[1] + added.float())[:first_low])
    assert torch.equal(place[first_low:].cpu(), added[first_low:].permute(0, 2, 3, 1))


def test_a_matrix_product_into_a_part_of_a_tensor(device: torch.device) -> None:
    weight, bias, taps = random(64, 32, 3, 3, seed=8) / 17, random(64, seed=9), random(6, 2, 2, 9 * 32).to(device)
    packer = Packer(device)
    conv = packer.as_matrix(packer.conv(weight, bias, nn.Conv2d(32, 64, 3, padding=1)))
    into = torch.full((8, 2, 2, 64), 7, dtype=torch.float16, device=device)
    got = taps_conv(taps, conv, into[:6])
    assert got.data_ptr() == into.data_ptr() and got.shape == into[:6].shape
    torch.testing.assert_close(into[:6], taps_conv(taps, conv), rtol=2e-3, atol=4e-3)
    assert (into[6:] == 7).all()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("q", "stride", "extra", "step"), [(4, 1, 0, 1), (2, 1, 64, 1), (2, 1, 32, 2), (4, 2, 0, 1)])
def test_taps_as_a_matrix(device: torch.device, share: float, q: int, stride: int, extra: int, step: int) -> None:
    """A layer and what is added to it, through a 1x1 layer, as one product."""
    grid, packer = make_grid(share), Packer(device)
    x, weight, bias = random(grid.n_tiles, 32, q, q), random(64, 32, 3, 3, seed=8) / 17, random(64, seed=9)
    added = random(grid.n_tiles, extra, q * step, q * step, seed=3) if extra else None
    matrix = random(extra, 64, seed=4) / 8 if extra else None
    plain = nn.Conv2d(32, 64, 3, padding=1, stride=stride)
    conv = packer.as_matrix(packer.conv(weight, bias, plain), None if matrix is None else matrix.to(device))
    layout = layout_of(grid, 4 * q, device)
    assert as_matrix(conv, layout)
    rows = x.permute(0, 2, 3, 1).contiguous().to(device)
    added_rows = None if added is None else added.permute(0, 2, 3, 1).contiguous().to(device)
    got = taps_conv(taps(rows, layout, stride=stride, added=added_rows, step=step)[0], conv)
    expected = F.conv2d(twin.pad(x.float(), grid, 1), weight.float(), bias.float(), stride)
    if added is not None and matrix is not None:
        expected = expected + torch.einsum("tchw,co->tohw", added.float()[:, :, ::step, ::step], matrix.float())
    same(got, F.relu(expected))
