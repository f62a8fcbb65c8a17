"""Times our own 3x3 convolution against cuDNN's (and the padding before it), layer by layer:
`python tests/kernels/conv_bench.py layers 0.4 0.2`; then the whole network with and without it (`network 0.4 0.2`: only
that).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType

import torch
from torch import Tensor

from segstream.engines import cuda_conv3x3, cuda_network
from segstream.engines.cuda_conv3x3 import Shape, conv3x3, prepack
from segstream.engines.cuda_policy import frame_norm
from segstream.engines.cuda_weights import pack
from segstream.kernels.compiler import machine_code
from segstream.kernels.launcher import architecture, new_stream
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD

CALLS = 10
# name, side, inputs, outputs, stride, channels of the shortcut, padded before, addition
LAYERS = [
    ("256 q4", 4, 256, 256, 1, 0, False, True),
    ("512 q2", 2, 512, 512, 1, 0, False, True),
    ("128-256 q4 s2", 4, 128, 256, 2, 0, False, False),
    ("256-512 q2 s2", 2, 256, 512, 2, 0, False, False),
    ("256+128 q4", 4, 256, 256, 1, 128, False, False),
    ("512+256 q2", 2, 512, 512, 1, 256, False, False),
    ("blend 128 q4", 4, 128, 128, 1, 0, True, False),
    ("blend 128 q8", 8, 128, 128, 1, 0, True, False),
    ("128 q8", 8, 128, 128, 1, 0, False, True),
    ("128+64 q8", 8, 128, 128, 1, 64, False, False),
    ("64-128 q8 s2", 8, 64, 128, 2, 0, False, False),
]
FIRST = "128-256"  # reads what cuDNN wrote, without mean rows
BASE = Shape(bulk=True)
SHAPES = [
    *(replace(BASE, stages=4, split=s, overlap=1) for s in (1, 2, 3, 4)),
    *(replace(BASE, stages=5, split=s, overlap=1) for s in (2, 3)),
    *(replace(BASE, stages=4, split=s, overlap=1, bulk=False) for s in (3,)),
    *(replace(BASE, stages=3, split=s, blocks=2, overlap=1) for s in (2, 3, 4, 6)),
    *(replace(BASE, stages=3, split=s, blocks=2) for s in (3, 4, 6)),
    *(replace(BASE, stages=2, split=s, blocks=2) for s in (3, 4)),
    *(replace(BASE, m=256, stages=4, split=s, overlap=1) for s in (1, 2, 3, 4, 5, 7)),
    *(replace(BASE, m=256, stages=3, split=s) for s in (3, 5)),
    *(replace(BASE, m=256, stages=4, split=s, warps=16, overlap=1) for s in (2, 3, 5)),
    *(replace(BASE, m=256, stages=3, split=s, warps=16) for s in (3,)),
    *(replace(BASE, n=256, stages=4, split=s, overlap=1) for s in (1, 2, 3, 4, 5, 7)),
    *(replace(BASE, n=256, stages=3, split=s) for s in (3, 5, 7)),
    *(replace(BASE, stages=4, split=s, overlap=1, fence=False) for s in (3,)),
]


def seconds(body: Callable[[], object], stream: torch.cuda.ExternalStream) -> float:
    """Microseconds of one call, from a graph of CALLS."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True)
    with flags, torch.inference_mode(), torch.cuda.stream(stream):
        body()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            for _ in range(CALLS):
                body()
        taken = []
        for turn in range(3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            if turn:
                taken.append(1e3 * start.elapsed_time(end) / CALLS)
    return median(taken)


def by_library(x: Tensor, weight: Tensor, bias: Tensor, stride: int, added: Tensor | None, relu: bool) -> Tensor:
    """The layer in cuDNN on padded tiles."""
    steps, zero, one = (stride, stride), (0, 0), (1, 1)
    if added is not None:
        return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, bias, steps, zero, one, 1)
    if relu:
        return torch.cudnn_convolution_relu(x, weight, bias, steps, zero, one, 1)
    return torch.nn.functional.conv2d(x, weight, None, stride)


def helpers(name: str) -> ModuleType:
    """A file of tests, for its helpers."""
    path = Path(__file__).resolve().parent.parent / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def near_table(share: float) -> tuple[Tensor, int]:
    """A table `near` of a random grid of 8 x 16 blocks, and its number of high blocks."""
    module = helpers("kernels/test_conv.py")
    grid = module.make_grid(8, 16, share)
    return module.near_table(grid).cuda(), grid.n_high


def networks(share: float, best: dict[tuple[int, int, int], Shape]) -> None:
    """The whole network in cuDNN's and our own convolutions, from stride 16 and from stride 8 on, taking turns."""
    tests, device, stream = helpers("segstream/engines/test_cuda_network.py"), torch.device("cuda"), new_stream(0)
    weights = pack(tests.make_network("resnet18"), device)
    frame = torch.from_numpy(tests.make_image(1024, 2048)).to(device)
    norm = frame_norm(IMAGENET_MEAN, IMAGENET_STD, device)
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True)
    plain = cuda_conv3x3.choose_shape
    cuda_conv3x3.choose_shape = lambda *key: best.get(key[:3]) or plain(*key)
    layout = tests.layout_of(tests.make_grid(8, 16, share, 128), device, True)
    graphs, logits, kinds = [], [], (64, 16, 8)
    taken: list[list[float]] = [[] for _ in kinds]
    for first in kinds:
        cuda_network.serves = lambda device, stride, q, first=first: stride >= first and q <= 8
        with flags, torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(2):
                cuda_network.run(frame, norm, weights, layout)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                logits.append(cuda_network.run(frame, norm, weights, layout))
            graphs.append(graph)
    for _ in range(15):
        for graph, found in zip(graphs, taken, strict=True):
            with torch.cuda.stream(stream):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                for i in range(13):
                    if i == 3:
                        start.record()
                    graph.replay()
                end.record()
            end.synchronize()
            found.append(start.elapsed_time(end) / 10)
    for first, found, result in zip(kinds, taken, logits, strict=True):
        error = float((result.float() - logits[0].float()).norm() / logits[0].float().norm())
        print(
            f"network {share:.0%}, own from stride {first}: {median(found):.4f} ms, differs by {error:.1e}",
            flush=True,
        )


def layers(share: float) -> dict[tuple[int, int, int], Shape]:
    """Times every way to cut every layer; returns the fastest by rows, output channels and steps."""
    best: dict[tuple[int, int, int], Shape] = {}
    device, stream = torch.device("cuda"), new_stream(0)
    with ThreadPoolExecutor(12) as pool:
        macros = [{"SCALAR": "__half", "VEC": "8", **shape.defines()} for shape in SHAPES]
        list(pool.map(lambda defines: machine_code("conv.cu", architecture(0), defines), macros))
    near, n_high = near_table(share)
    t = near.shape[0]
    for name, q, inputs, outputs, stride, cskip, padded, add in LAYERS:
        side = stride * q
        x = torch.randn(t, side + 2, side + 2, inputs, device=device).half()
        weight = (torch.randn(outputs, inputs, 3, 3, device=device) / 50).half()
        packed = weight.to(memory_format=torch.channels_last)
        bias = torch.zeros(outputs, device=device).half()
        other = torch.randn(t, q, q, outputs, device=device).half()
        tiles, added = x.permute(0, 3, 1, 2), other.permute(0, 3, 1, 2)
        library = seconds(partial(by_library, tiles, packed, bias, stride, added if add else None, not padded), stream)
        flops = 2 * t * q * q * outputs * (9 * inputs + cskip)
        print(
            f"\n{share:.0%} {name}: {flops / 1e9:.2f} GFLOP, floor {flops / 790e6:.1f}, cuDNN {library:.1f} us",
            flush=True,
        )
        skip = torch.randn(t * 4 * q * q, cskip, device=device).half() if cskip else None
        weights = prepack(weight, torch.randn(cskip, outputs, device=device).half() if cskip else None)
        rows = torch.randn((t + n_high) * (side + 2) ** 2, inputs, device=device).half()
        found = []
        for shape in SHAPES:
            if outputs % shape.n or shape.shared(q, stride) > 227 * 1024:
                continue
            for means in (not name.startswith(FIRST),):
                more = {"stride": stride, "n_high": n_high, "means": means, "padded": padded, "skip": skip}
                more["other"] = other.view(-1, outputs) if add else None
                try:
                    us = seconds(partial(conv3x3, rows, weights, bias, near, q, shape=shape, **more), stream)
                except Exception as error:
                    print("  failed", shape, str(error)[:150], flush=True)
                    continue
                found.append((us, means, shape))
        own = [(us, shape) for us, _, shape in found if shape.fence]
        if own:
            key = (t * q * q, outputs, (9 * inputs + cskip) // 64)
            best[key] = min(own, key=lambda entry: entry[0])[1]
        for us, means, s in sorted(found, key=lambda entry: entry[0]):
            kind = "wgmma" if s.wgmma else "mma"
            print(
                f"  {us:6.1f} us {flops / us / 1e6:5.0f} TF {kind} {s.m}x{s.n} stages {s.stages} split {s.split} "
                f"warps {s.warps} blocks {s.blocks} overlap {s.overlap} L1 {int(s.near)} means {int(means)} "
                f"bulk {int(s.bulk)} fence {int(s.fence)}",
                flush=True,
            )
    return best


if __name__ == "__main__":
    for chosen in [float(share) for share in sys.argv[2:]] or [0.4, 0.2]:
        networks(chosen, layers(chosen) if sys.argv[1:2] == ["layers"] else {})
