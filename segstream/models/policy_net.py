"""The policy network: one look at the small image, one logit per block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks.detail import log_detail
from segstream.models.resnet import conv_bn

# What weights from a file may ask for, so that a damaged one cannot take all memory.
LARGEST_WIDTH = 1024
LARGEST_CONTEXT = 16


class PolicyNet(nn.Module):
    """Looks at the image at 32 pixels a block and says how much each block gains from high resolution.

    Source: SegBlocks (TPAMI 2023), section 3.2. About 0.22 M parameters.

    Args:
        width: channels of the hidden layers.
        context: layers at one pixel a block (not in the paper), by which a block's score also follows from what lies in
            as many blocks around it and one more; another layer brings the features there. With two the network costs
            a fifteenth more. 0 is the paper's.
        detail: how much the logarithm of the detail that the block loses (`segstream.blocks.detail`, the heuristic
            policy's score) weighs in the logits besides (not in the paper). It is seen at full resolution, where the
            network sees every second pixel or fewer, and costs no multiplications to speak of. None leaves it out.
    """

    detail: Tensor | None

    def __init__(self, width: int = 64, context: int = 0, detail: float | None = None) -> None:
        super().__init__()
        self.register_buffer("detail", None if detail is None else torch.tensor(float(detail)))
        layers = [*hidden(3, width, 7, 4), *hidden(width, width, 5, 2), *hidden(width, width, 5, 2)]
        if context:
            layers += hidden(width, width, 5, 2)
            for _ in range(context):
                layers += hidden(width, width, 3, 1)
            layers.append(nn.Conv2d(width, 1, 3, 1, 1))
        else:
            layers.append(nn.Conv2d(width, 1, 5, 2, 2))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, block: int) -> Tensor:
        """Logits of the blocks.

        Args:
            x: float [N, 3, GH*block, GW*block], normalised as for the segmentation network.
            block: side of a block in pixels.

        Returns:
            [N, GH, GW]; a block is worth high resolution where its logit is above 0.
        """
        return self.with_detail(self.own_logits(x, block), x, block)

    def own_logits(self, x: Tensor, block: int) -> Tensor:
        """What the network itself says, [N, GH, GW], without detail; the same arguments."""
        rows, columns = x.shape[-2] // block, x.shape[-1] // block
        small = F.interpolate(x, size=(rows * 32, columns * 32), mode="nearest")
        return self.layers(small).squeeze(1)

    def with_detail(self, logits: Tensor, x: Tensor, block: int) -> Tensor:
        """What `forward` gives, from the `own_logits` [N, GH, GW] of the same image and block."""
        return logits if self.detail is None else logits + self.detail * log_detail(x, block)

    @property
    def detail_weight(self) -> float | None:
        """How much detail weighs, as a number."""
        return None if self.detail is None else float(self.detail)


def hidden(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution with batch norm and ReLU."""
    return [*conv_bn(inputs, outputs, kernel, stride), nn.ReLU()]


def policy_shaped_as(tensors: dict[str, Tensor]) -> PolicyNet | None:
    """A policy network, not filled yet, of the width, context and detail that its weights are of.

    Args:
        tensors: by name, as in its state; None is returned where they are of no such network.
    """
    first = tensors.get("layers.0.weight")
    width = 64 if first is None else first.shape[0] if first.dim() == 4 else 0
    context = max(0, sum(tensor.dim() == 4 for tensor in tensors.values()) - 5)
    if not 0 < width <= LARGEST_WIDTH or context > LARGEST_CONTEXT:
        return None
    return PolicyNet(width, context, 0.0 if "detail" in tensors else None)
