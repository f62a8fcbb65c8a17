"""The GMAC counter against torch's own count of whole runs, and against the published figures."""

from __future__ import annotations

import pytest
import torch

from segstream.blocks import Grid
from segstream.flops import count, measure
from segstream.models import Model, PolicyNet, SwiftNet
from segstream.models.registry import untrained_model


def model_of(
    encoder: str, classes: int, seamless: bool, subpixel: bool = False, shallow: tuple[int, ...] = ()
) -> Model:
    network = SwiftNet(encoder, classes, seamless, subpixel, shallow).eval()
    return Model(network, PolicyNet().eval(), untrained_model().spec)


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("seamless", [True, False])
@pytest.mark.parametrize(
    ("encoder", "shallow"),
    [("resnet18", ()), ("resnet18", (1, 3, 4)), ("resnet50", (2, 4)), ("efficientnet-lite1", ())],
)
def test_any_grid_costs_what_torch_counts(
    encoder: str, shallow: tuple[int, ...], seamless: bool, subpixel: bool
) -> None:
    model = model_of(encoder, 7, seamless, subpixel, shallow)
    costs = measure(model, 64)
    x = torch.zeros(1, 3, 128, 192)
    for share in (0.5, 0.0, 1.0):
        grid = Grid(torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(4)) < share, 64)
        ran = count(model.network, x, grid) / 1e9
        assert costs.gmacs(2, 3, grid.n_high, "heuristic") == pytest.approx(ran, rel=1e-6)
    assert costs.dense_gmacs(2, 3) == pytest.approx(count(model.network, x) / 1e9, rel=1e-6)
    assert model.policy_net is not None
    policy = count(model.policy_net, x, 64) / 1e9
    learned = costs.gmacs(2, 3, 3, "learned") - costs.gmacs(2, 3, 3, "heuristic")
    assert learned == pytest.approx(policy, rel=1e-6)


def test_equals_the_published_figures() -> None:
    costs = measure(model_of("resnet18", 19, True), 128)
    assert costs.dense_gmacs(8, 16) == pytest.approx(103.6, abs=0.1)
    assert costs.policy_block * 128 / 1e9 == pytest.approx(0.34, abs=0.005)
