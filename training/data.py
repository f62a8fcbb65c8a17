"""Training data: images cached as uint8, in the device's memory where they fit, and the order they are taken in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segstream.datasets import Dataset
from segstream.errors import UsageError

MOST_BATCHES = 32  # that are decoded ahead, one of each training
CACHE_SHARE = 0.4  # of the device's free memory that cached images may take


def read_pair(data: Dataset, index: int, resize: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """One sample as uint8 [3, H, W] and [H, W], scaled to `resize` (width, height) if it is given."""
    sample = data[index]
    image, labels = sample.image, sample.labels
    if resize is not None and (image.shape[1], image.shape[0]) != tuple(resize):
        image = np.asarray(Image.fromarray(image).resize(resize, Image.Resampling.BOX))
        labels = np.asarray(Image.fromarray(labels).resize(resize, Image.Resampling.NEAREST))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(labels.copy())


class Store:
    """All samples of a data set as uint8 tensors, ready to be taken by index.

    They are decoded once and kept on the device if they fit there, else decoded anew for each batch by threads, of
    which `prefetch` starts the next one.

    Attributes:
        names: names of the samples.
        cached: whether the samples are held on the device: images [M, 3, H, W] and labels [M, H, W].
    """

    def __init__(self, data: Dataset, device: torch.device, resize: tuple[int, int] | None = None) -> None:
        self.data, self.device, self.resize = data, device, resize
        self.names = data.names
        self.pool = ThreadPoolExecutor(min(16, cpu_count() or 1), thread_name_prefix="decode")
        self._next: dict[tuple[int, ...], list[Future[tuple[Tensor, Tensor]]]] = {}  # one batch of each training
        first = read_pair(data, 0, resize)
        self.size = (first[1].shape[0], first[1].shape[1])  # height and width
        self.cached = len(data) * (first[0].numel() + first[1].numel()) <= CACHE_SHARE * free_memory(device)
        if self.cached:
            pairs = self._decode(range(len(data)))
            self.images = torch.stack([image for image, _ in pairs]).to(device)  # uint8 [M, 3, H, W]
            self.labels = torch.stack([labels for _, labels in pairs]).to(device)  # uint8 [M, H, W]

    def __len__(self) -> int:
        return len(self.names)

    def _decode(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        pairs = list(self.pool.map(lambda i: read_pair(self.data, i, self.resize), indices))
        for index, (_, labels) in zip(indices, pairs, strict=True):
            self._check(index, labels)
        return pairs

    def _check(self, index: int, labels: Tensor) -> None:
        if tuple(labels.shape) != self.size:
            raise UsageError(
                f"the image {self.names[index]} is {labels.shape[1]}x{labels.shape[0]}, others are "
                f"{self.size[1]}x{self.size[0]}: set 'resize' to one width and height."
            )

    def prefetch(self, indices: Sequence[int]) -> None:
        """Begin to decode the next batch, where samples are not cached."""
        if not self.cached:
            key = tuple(indices)
            self._next[key] = [self.pool.submit(read_pair, self.data, i, self.resize) for i in key]
            if len(self._next) > MOST_BATCHES:  # of trainings that have ended
                del self._next[next(iter(self._next))]

    def take(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Samples by index: uint8 [N, 3, H, W] and [N, H, W] on the device."""
        if self.cached:
            at = torch.tensor(indices, device=self.device)
            return self.images.index_select(0, at), self.labels.index_select(0, at)
        futures = self._next.pop(tuple(indices), None)
        if futures is not None:
            pairs = [future.result() for future in futures]
            for index, (_, labels) in zip(indices, pairs, strict=True):
                self._check(index, labels)
        else:
            pairs = self._decode(indices)
        images, labels = (torch.stack([pair[k] for pair in pairs]) for k in (0, 1))
        return images.to(self.device), labels.to(self.device)


def free_memory(device: torch.device) -> int:
    """Free bytes of the device (of a CPU: a cautious guess)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return 8 << 30


class Order:
    """Which samples each step takes: every epoch a new shuffle, a function of seed and step alone.

    So a resumed run needs nothing but its step to go on exactly as it would have.

    Args:
        count: samples of the main data set.
        extra: samples of a second one, numbered from `count` on.
        share: share of each batch that comes from the second.
        batch: samples a step over all processes.
        seed: of the shuffles.
        rank, world: which part of the batch is this process's.
    """

    def __init__(
        self, count: int, extra: int, share: float, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.extra, self.batch, self.seed = count, extra, batch, seed
        self.rank, self.world = rank, world
        self.from_extra = round(share * batch) if extra else 0
        self.from_main = batch - self.from_extra
        if self.from_main < 1:
            raise UsageError(f"a batch of {batch} with a share of {share} drawn scenes leaves none of the data set.")

    @property
    def steps_per_epoch(self) -> float:
        return self.count / self.from_main

    def indices(self, step: int) -> list[int]:
        """Samples of this process at a step."""
        main = [self._at(step * self.from_main + i, self.count, 0) for i in range(self.from_main)]
        more = [self.count + self._at(step * self.from_extra + i, self.extra, 1) for i in range(self.from_extra)]
        # In turns, so that the drawn scenes are spread over the processes as evenly as can be.
        return (main + more)[self.rank :: self.world]

    def _at(self, position: int, count: int, stream: int) -> int:
        epoch, place = divmod(position, count)
        return int(shuffle(self.seed, stream, epoch, count)[place])


_shuffles: dict[tuple[int, int, int, int], np.ndarray] = {}


def shuffle(seed: int, stream: int, epoch: int, count: int) -> np.ndarray:
    """int64 [count]: the order of an epoch."""
    key = (seed, stream, epoch, count)
    if key not in _shuffles:
        if len(_shuffles) > 64:
            _shuffles.clear()
        _shuffles[key] = np.random.default_rng([seed, stream, epoch]).permutation(count)
    return _shuffles[key]


class Joined:
    """Two stores as one: indices beyond the first one's samples mean the second's. Both must hold one image size."""

    def __init__(self, main: Store, extra: Store | None) -> None:
        self.main, self.extra = main, extra
        if extra is not None and extra.size != main.size:
            raise UsageError(f"drawn scenes of {extra.size} do not fit images of {main.size}: set 'resize'.")
        self.names = main.names + (extra.names if extra is not None else ())

    def take(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Samples by index: uint8 [N, 3, H, W] and [N, H, W]; the main store's first, as `Order` lists them."""
        first = [i for i in indices if i < len(self.main)]
        rest = [i - len(self.main) for i in indices if i >= len(self.main)]
        parts = [self.main.take(first)] if first else []
        if rest and self.extra is not None:
            parts.append(self.extra.take(rest))
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

    def prefetch(self, indices: Sequence[int]) -> None:
        self.main.prefetch([i for i in indices if i < len(self.main)])
