"""Small objects of rare classes, cut out of training images and pasted into others, on the device that is trained on.

A few hundred images hold few signs and people, and a network soon knows by heart where they stand. At other places it
must know them by their looks (Ghiasi et al., "Simple Copy-Paste", CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.training.config import MOST_PASTED

SIDE = 96  # pixels of an object's picture
LARGEST = SIDE - 2  # pixels of an object's longer side, so that one of its surroundings is on each side
LEAST_AREA = 24  # pixels of the smallest object
RARE = 0.03  # classes with less of the labelled pixels give objects
MOST_OBJECTS = 8192  # that are kept; 36 KB each
ZOOM = 1.5  # largest change of an object's size, in either direction
RISE = 0.06  # furthest an object is moved up or down, in heights of the image: it stays about as far away as it was


@dataclass(slots=True)
class Objects:
    """Cut-out objects, on the device of the training.

    Attributes:
        pictures: uint8 [B, 3, SIDE, SIDE], each object in the middle.
        masks: uint8 [B, SIDE, SIDE], 1 on the object.
        classes: uint8 [B].
        rows: float32 [B], height of the object's middle in its image, 0..1 from the top.
        chances: float32 [B], cumulative: each class comes as often as any other, each object of a class likewise.
    """

    pictures: Tensor
    masks: Tensor
    classes: Tensor
    rows: Tensor
    chances: Tensor


@dataclass(slots=True)
class Found:
    """Where an object is: image, class, box in pixels, and bool [h, w] which of its pixels are the object's."""

    image: int
    kind: int
    x: int
    y: int
    mask: np.ndarray


def cut_objects(images: Tensor, labels: Tensor, shares: Tensor) -> Objects | None:
    """The small objects (connected pixels of one class) of the rare classes; None if there is none.

    What touches the image's border is left out: it may be part of something larger, and lacks surroundings to cut out
    with it. Sizes are in pixels of the images as they are trained on.

    Args:
        images: uint8 [M, 3, H, W].
        labels: uint8 [M, H, W].
        shares: float64 [K], how much of the labelled pixels each class has.
    """
    rare = [kind for kind, share in enumerate(shares.tolist()) if 0 < share < RARE]
    found: dict[int, list[Found]] = {kind: [] for kind in rare}
    for index, label in enumerate(labels.cpu().numpy()):
        for kind in rare:
            found[kind] += find_objects(label, index, kind)
    found = {kind: objects for kind, objects in found.items() if objects}
    if not found:
        return None
    kept = [evenly(objects, limit) for objects, limit in zip(found.values(), limits(found), strict=True)]
    chances = np.concatenate([np.full(len(objects), 1 / len(objects) / len(kept)) for objects in kept])
    items = [item for objects in kept for item in objects]
    pairs = [cut(images[item.image], item) for item in items]
    height = labels.shape[-2]
    tensors = (
        torch.from_numpy(np.stack([picture for picture, _ in pairs])),  # [B, 3, SIDE, SIDE]
        torch.from_numpy(np.stack([mask for _, mask in pairs])),  # [B, SIDE, SIDE]
        torch.tensor([item.kind for item in items], dtype=torch.uint8),  # [B]
        torch.tensor([(item.y + len(item.mask) / 2) / height for item in items]),  # [B]
        torch.from_numpy(chances.cumsum()).float(),  # [B]
    )
    return Objects(*(tensor.to(images.device) for tensor in tensors))


def find_objects(label: np.ndarray, image: int, kind: int) -> list[Found]:
    """The small objects of one class in a label map uint8 [H, W], none of them at its border."""
    height, width = label.shape
    _, parts, boxes, _ = cv2.connectedComponentsWithStats((label == kind).astype(np.uint8), connectivity=8)
    found = []
    for part, (x, y, w, h, area) in enumerate(boxes.tolist()[1:], start=1):
        at_border = x == 0 or y == 0 or x + w == width or y + h == height
        if not at_border and area >= LEAST_AREA and max(w, h) <= LARGEST:
            found.append(Found(image, kind, x, y, parts[y : y + h, x : x + w] == part))
    return found


def limits(found: dict[int, list[Found]]) -> list[int]:
    """How many objects of each class to keep, so that all are at most MOST_OBJECTS: of the smaller classes all."""
    kept = dict.fromkeys(found, 0)
    left = MOST_OBJECTS
    for done, kind in enumerate(sorted(found, key=lambda kind: len(found[kind]))):
        kept[kind] = min(len(found[kind]), left // (len(found) - done))
        left -= kept[kind]
    return list(kept.values())


def evenly(objects: list[Found], count: int) -> list[Found]:
    """So many of the objects, spread evenly over all."""
    return [objects[i * len(objects) // count] for i in range(count)]


def cut(image: Tensor, item: Found) -> tuple[np.ndarray, np.ndarray]:
    """Picture uint8 [3, SIDE, SIDE] and mask uint8 [SIDE, SIDE] of an object in an image uint8 [3, H, W]."""
    h, w = item.mask.shape
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    picture = np.zeros((3, SIDE, SIDE), np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    # With a pixel around it, which its edge is mixed with when its size is changed.
    around = image[:, item.y - 1 : item.y + h + 1, item.x - 1 : item.x + w + 1]
    picture[:, top - 1 : top + h + 1, left - 1 : left + w + 1] = around.cpu().numpy()
    mask[top : top + h, left : left + w] = item.mask
    return picture, mask


def paste(
    images: Tensor, labels: Tensor, objects: Objects, each: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste objects into images, each at any place of about the row that it comes from, mirrored or not.

    Every slot looks over whole images, used or not, since a CUDA graph does the same at every step: cheap for 480x360,
    but large images take memory.

    Args:
        images: uint8 [N, 3, H, W].
        labels: uint8 [N, H, W].
        objects: what to paste.
        each: how many objects an image gets on average, 0 to MOST_PASTED. Parts beyond the image's sides are lost.
        generator: where chance comes from; on the images' device.

    Returns:
        float32 [N, 3, H, W], 0..255, and uint8 [N, H, W].
    """
    n, _, height, width = images.shape
    across = torch.arange(width, device=images.device) + 0.5  # [W]
    down = torch.arange(height, device=images.device) + 0.5  # [H]
    picture = images.float()
    last = len(objects.classes) - 1
    for slot in torch.rand(MOST_PASTED, 6, n, device=images.device, generator=generator):
        used, which, size, x, y, flip = slot  # each [N]
        at = torch.searchsorted(objects.chances, which, right=True).clamp(max=last)  # [N]
        half = SIDE / 2 * ZOOM ** (2 * size - 1)  # [N]
        middle = (objects.rows[at] + RISE * (2 * y - 1)) * height  # [N]
        turn = torch.where(flip < 0.5, 1.0, -1.0)  # [N]
        u = (across - (x * width)[:, None]) / half[:, None] * turn[:, None]  # [N, W]
        v = (down - middle[:, None]) / half[:, None]  # [N, H]
        # [N, H, W, 2]
        where = torch.stack([u[:, None, :].expand(n, height, width), v[:, :, None].expand(n, height, width)], -1)
        mask = objects.masks[at] * (used < each / MOST_PASTED)[:, None, None]  # [N, SIDE, SIDE]
        source = torch.cat([objects.pictures[at], mask[:, None]], 1).float()  # [N, 4, SIDE, SIDE]
        seen = F.grid_sample(source, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        share = seen[:, 3:]  # [N, 1, H, W], of the pixel that is the object's
        picture = share * seen[:, :3] + (1 - share) * picture
        labels = torch.where(share[:, 0] > 0.5, objects.classes[at, None, None], labels)
    return picture, labels
