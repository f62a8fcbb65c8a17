"""What is known of a model beside its weights: the facts its file carries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

from segstream.blocks.grid import BLOCK_SIDES
from segstream.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_SIDE = 16384  # of a network input, so that a file cannot ask for more memory than any video needs
LARGEST_CLASS_COUNT = 255  # labels are uint8, and 255 marks pixels without a label


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model is and how it wants its input; stored as JSON in the weight file's metadata.

    Attributes:
        name: the name it is called by.
        encoder: "resnet18", "resnet50" or "efficientnet-lite1".
        classes: class names by index.
        palette: RGB colour by class index, 0..255.
        mean, std: normalisation of RGB values scaled to 0..1.
        size: width and height of the images it was trained on; frames are scaled to about as many pixels.
        block: side of a high-resolution block in pixels of the network input.
        interpolation: "seamless", or "local" for the authors' checkpoints.
        shallow: stages of a ResNet of which low blocks pass the first residual block alone; see `SwiftNet`.
        policy: the policy to use where the user names none.
        thresholds: by policy, the score above which a block runs at high resolution.
        data: what it was trained on.
        licence: terms of that data.
        results: measured figures, such as {"val_miou_high": 0.74}.
        training: settings of its training that tell what its logits mean: {"class_weights": 0.5, "prior": 0.25}; empty
            where they are not known.
    """

    name: str
    encoder: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: tuple[int, int] = (480, 360)
    block: int = 64
    interpolation: str = "seamless"
    shallow: tuple[int, ...] = ()
    policy: str = "heuristic"
    thresholds: dict[str, float] = field(default_factory=dict)
    data: str = ""
    licence: str = ""
    results: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_spec(self)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def check_spec(spec: ModelSpec) -> None:
    """Refuse facts that no model of this program can have, in one sentence."""

    def refuse(what: str, expected: str) -> None:
        raise ModelError(f"the model {spec.name!r} has {what}; expected {expected}: use a model file made by segstream")

    if not isinstance(spec.name, str) or not isinstance(spec.encoder, str):
        refuse(f"the encoder {spec.encoder!r}", "texts as name and encoder")
    if not isinstance(spec.thresholds, dict) or not all(isinstance(v, Real) for v in spec.thresholds.values()):
        refuse(f"the thresholds {spec.thresholds!r}", "a number for each policy")
    if not all(isinstance(v, Real) for v in (*spec.mean, *spec.std)):
        refuse("a normalisation that is not of numbers", "three means and three deviations above 0")
    if not all(isinstance(v, int) for v in (*spec.size, spec.block)):
        refuse(f"the input size {spec.size} and block side {spec.block}", "whole numbers of pixels")
    if not 0 < len(spec.classes) <= LARGEST_CLASS_COUNT or not all(isinstance(c, str) for c in spec.classes):
        refuse(f"{len(spec.classes)} classes", f"1 to {LARGEST_CLASS_COUNT} class names")
    if len(spec.palette) != len(spec.classes):
        refuse(f"{len(spec.palette)} colours for {len(spec.classes)} classes", "one colour a class")
    if any(len(c) != 3 or not all(0 <= int(v) <= 255 for v in c) for c in spec.palette):
        refuse("a colour that is not RGB", "three numbers from 0 to 255")
    if spec.block not in BLOCK_SIDES:
        refuse(f"a block side of {spec.block}", f"one of {', '.join(map(str, BLOCK_SIDES))}")
    if len(spec.size) != 2 or not all(16 <= int(v) <= LARGEST_SIDE for v in spec.size):
        refuse(f"an input size of {spec.size}", f"width and height from 16 to {LARGEST_SIDE}")
    if spec.interpolation not in ("seamless", "local"):
        refuse(f"the interpolation {spec.interpolation!r}", "'seamless' or 'local'")
    if not all(isinstance(stage, int) for stage in spec.shallow):
        refuse(f"the shallow stages {spec.shallow}", "numbers of stages")
    if len(spec.mean) != 3 or len(spec.std) != 3 or not all(v > 0 for v in spec.std):
        refuse("a normalisation that is not of three channels", "three means and three deviations above 0")


def spec_from_json(text: str, where: str) -> ModelSpec:
    """Read a spec from the JSON of a weight file's metadata.

    Raises:
        ModelError: if it is not a spec; `where` names the file in the sentence.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        known = {f.name for f in fields(ModelSpec)}
        values = {k: v for k, v in values.items() if k in known}
        for key in ("classes", "mean", "std", "size", "shallow"):
            if key in values:
                values[key] = tuple(values[key])
        values["palette"] = tuple(tuple(colour) for colour in values["palette"])
        return ModelSpec(**values)
    except ModelError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{where} does not describe a segstream model ({error}); use a model listed by `segstream models`, or "
            "import a checkpoint with `segstream models import`"
        ) from error
