"""What a training needs before its first step: samples, classes, weights, the splits it is evaluated on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from segstream.datasets import open_dataset
from segstream.datasets.camvid import CLASSES as CAMVID_CLASSES
from segstream.datasets.drawn import open_demo
from segstream.errors import UsageError
from segstream.palettes import CAMVID, CITYSCAPES
from segstream.training.augment import seen_size
from segstream.training.config import TrainConfig
from segstream.training.data import Joined, Store
from segstream.training.losses import class_shares
from segstream.training.paste import Objects, cut_objects
from segstream.training.validate import Split

SPLIT_LIMIT = 512  # images of a split that training looks at between epochs


@dataclass(slots=True)
class Data:
    """The data of one or more runs.

    Attributes:
        samples: training samples.
        main, extra: how many of them are of the data set and how many are drawn scenes.
        classes, palette: class names and colours.
        shares: float64 [K], how much of the labelled pixels each class has.
        train, val: splits to calibrate and to evaluate on.
        demo: frames of the demo, where drawn scenes are trained on.
        objects: what can be pasted into the training images, where that is asked for and they have any.
    """

    samples: Joined
    main: int
    extra: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    shares: Tensor
    train: Split
    val: Split
    demo: Split | None
    objects: Objects | None = None


def load_data(config: TrainConfig, device: torch.device) -> Data:
    """Read and cache everything that the configuration's data set holds.

    Raises:
        SourceError, UsageError: if it cannot be read or the settings do not fit it.
    """
    opened = open_dataset(config.dataset, config.data_dir, "train")
    judged = open_dataset(config.dataset, config.data_dir, "val")
    if judged.classes != opened.classes:
        raise UsageError(
            f"the training images are {opened.name} of {len(opened.classes)} classes and those of val {judged.name} of "
            f"{len(judged.classes)}: give both in one version, or name the version as the data set."
        )
    if config.scenes and opened.classes != CAMVID_CLASSES:
        raise UsageError(f"drawn scenes have CamVid's classes, not those of {opened.name}: set 'scenes' to 0.")
    main = Store(opened, device, config.resize)
    val = whole_split(Store(judged, device, config.resize), device, config.input_size)
    extra = demo = None
    if config.scenes:
        size = (main.size[1], main.size[0])
        extra = Store(open_demo("train", size=size), device)
        demo = whole_split(Store(open_demo("val", size=size), device), device, config.input_size)
    train = whole_split(main, device, config.input_size)
    shares = class_shares(train.labels, len(opened.classes))
    return Data(
        samples=Joined(main, extra),
        main=len(main),
        extra=len(extra) if extra else 0,
        classes=opened.classes,
        palette=palette_for(opened.classes),
        shares=shares,
        train=train,
        val=val,
        demo=demo,
        objects=cut_objects(train.images, train.labels, shares) if config.pasted else None,
    )


def whole_split(store: Store, device: torch.device, size: tuple[int, int] | None = None) -> Split:
    """A store's samples as one tensor, evenly chosen ones where there are very many.

    Args:
        size: width and height that the network sees them at, but for their shape, which they keep; None is their own.
    """
    size = seen_size(store.size, size)
    if store.cached and len(store) <= SPLIT_LIMIT:
        return Split(store.images, store.labels, size)
    count = min(len(store), SPLIT_LIMIT)
    if count < len(store):
        warnings.warn(f"{count} of the {len(store)} images are evaluated; `segstream eval` takes all", stacklevel=2)
    return Split(*store.take([i * len(store) // count for i in range(count)]), size)


def palette_for(classes: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """The usual colours of known classes; for others colours that differ from each other."""
    for known in (CAMVID, CITYSCAPES):
        named = {name.lower(): tuple(colour) for name, colour in known.items()}
        if all(name.lower() in named for name in classes):
            return tuple(named[name.lower()] for name in classes)  # type: ignore[misc]
    colours = []
    for index in range(len(classes)):
        bits = [(index + 1) >> k & 1 for k in range(9)]  # as PASCAL VOC's colour map spreads the bits of the index
        colours.append(tuple(sum(bits[3 * k + c] << (7 - k) for k in range(3)) for c in range(3)))
    return tuple(colours)  # type: ignore[arg-type]
