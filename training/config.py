"""The settings of a training run, read from YAML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from segstream.blocks.grid import BLOCK_SIDES
from segstream.errors import UsageError
from segstream.models.swiftnet import ENCODERS, SHALLOW_STAGES
from segstream.training.setting_types import as_setting, describe

MODES = ("dense", "mixed", "reinforce", "policy")
REWARDS = ("loss", "gain", "borders")
POLICY_LOSSES = ("reinforce", "regression")
MOST_PASTED = 6  # objects that an image can get
MOST_CONTEXT = 16  # a score then follows from all of any picture


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What to train, on what, and how.

    Attributes:
        name: name of the run, and of the model it makes.
        mode: "dense" (no blocks), "mixed" (supervised, grids of several shares so that any policy works), "reinforce"
            (network and policy jointly), "policy" (the policy alone, for the network of `init`, which stays as it is,
            and with it its `class_weights` and `prior`).
        dataset, data_dir: a data set of `segstream.datasets` and its folder.
        resize: width and height that every image is scaled to when it is read; null keeps the data set's own size,
            which must then be one size.
        input_size: width and height that images are scaled to for the network; null takes their own. They keep their
            shape, and have about as many pixels (`segstream.geometry.fit`). `crop` and `scale` are of images of that
            size. Labels keep theirs, and results are scaled back to be compared with them: as the model will be used,
            whose size this becomes.
        scenes: share of each batch that is drawn street scenes (only for CamVid's classes), 0..1.
        encoder: a name of `segstream.models.swiftnet.ENCODERS`.
        encoder_weights: file of ImageNet weights under torchvision's names; null starts from scratch.
        init: model (a .safetensors file, or the name of an installed one) whose network to start from, and where the
            mode has a policy its policy too, as far as both have the same layers; null starts from scratch.
        subpixel: give low blocks a last layer of their own, of four logits a pixel and class that make 2x2 pixels, so
            that their class maps are as fine as those of high blocks; see `segstream.models.SwiftNet`.
        shallow: stages of a ResNet (1 to 4) of which low blocks pass the first residual block alone: what that saves
            pays for more high blocks; see `segstream.models.SwiftNet`.
        context: layers of the policy network that look at the blocks around each; see `segstream.models.PolicyNet`.
        detail: how much the logarithm of the detail that a block loses weighs in the policy's logits besides what the
            policy network says, which alone learns; see `segstream.models.PolicyNet`. 0 leaves it out.
        block: side of a high block in pixels.
        crop: width and height of the training input, whole blocks.
        scale: smallest and largest random scale.
        aspect: largest random change of the ratio of width to height, in either direction; 1 keeps it.
        jitter: strength of the colour jitter, 0..1.
        pasted: how many small objects of rare classes each image gets on average, at other places than where they were;
            see `segstream.training.paste`. They are cut out of the images of the data set that are at most 94 pixels
            wide and high there (of very large data sets out of 512 images). 0 is off.
        batch: images a step, of all processes together.
        epochs: passes over the data set.
        lr, policy_lr: peak learning rates of network and policy network.
        encoder_lr: factor on `lr` for the encoder (0.25 with ImageNet weights, 1 from scratch).
        weight_decay: of AdamW, for weights of more than one dimension.
        warmup: steps over which the learning rate rises.
        ema: decay of the averaged weights, which are what is evaluated and saved.
        class_weights: weights of the classes in the loss are frequency ** -class_weights; 0 weighs all alike.
        prior: the logits in use hold prior * log(frequency) more than those in the cross-entropy. Weights make the rare
            classes learned well, and too large; this takes back the second. At `class_weights` it takes back all of it.
        bootstrap: share of pixels, the worst ones, that the cross-entropy is taken over; 1 takes all.
        lovasz: weight of the Lovász-Softmax loss of the logits in use, which stands in for the IoU; 0 is off.
        target: share of high blocks that "reinforce" trains for, and that the policies are evaluated at.
        whole: share of each batch's images that "reinforce" runs with every block high whatever the policy says, so
            that the network does not forget high resolution; the others keep to `target`. 0 is off; else it must come
            to at least one image of each process's part of a batch, and not to all of them.
        shuffled: share of each batch's images whose high blocks "reinforce" puts at random places. On training images
            the policy finds nearly all that is rare and small, so low resolution hardly meets it, and on others where
            the policy finds less of it does not know it. 0 is off.
        levels: shares of high blocks that "mixed" draws from.
        reward: "gain" (what the block lost by running low, against the averaged network at high resolution), "loss"
            (the paper's: the block's loss) or "borders" (how much border between classes the block holds, by its
            labels; see `segstream.training.reinforce`).
        policy_loss: "reinforce", or for the reward "borders", which is known of every block, "regression".
        judged: share of each batch that the averaged network judges for the reward "gain", as every second image or
            every third and so on (the nearest of 1, 1/2, 1/3, ...); the policy learns from these images. A quarter
            costs a fifteenth of a step where all cost a quarter.
        distill: weight of the cross-entropy to the output at high resolution of the averaged network or the teachers;
            0 is off. Without teachers it needs every image judged.
        teachers: model files to distil from in the averaged network's place, each for its share of every batch; at most
            as many as each process has images of a batch. They teach "dense" too. They take turns in each place of the
            batch, so over time each image meets all of them: as if their mean taught it, for the work of one (Hinton et
            al. 2015 distil ensembles so).
        taught_by: a dense training of the same command, by name (with --seeds without its seed), whose averaged
            network is the teacher: it learns beside this one, and knows no more than its steps so far have taught it.
        evaluations: how often the run is evaluated on val, evenly spread.
        seed: of everything drawn at random.
    """

    name: str = "swiftnet"
    mode: str = "mixed"
    dataset: str = "camvid"
    data_dir: str | None = None
    resize: tuple[int, int] | None = None
    input_size: tuple[int, int] | None = None
    scenes: float = 0.0
    encoder: str = "resnet18"
    encoder_weights: str | None = None
    init: str | None = None
    subpixel: bool = False
    shallow: tuple[int, ...] = ()
    context: int = 0
    detail: float = 0.0
    block: int = 64
    crop: tuple[int, int] = (512, 384)
    scale: tuple[float, float] = (0.6, 2.0)
    aspect: float = 1.0
    jitter: float = 0.3
    pasted: float = 0.0
    batch: int = 16
    epochs: float = 400
    lr: float = 1e-3
    policy_lr: float = 1e-3
    encoder_lr: float = 1.0
    weight_decay: float = 0.02
    warmup: int = 200
    ema: float = 0.998
    class_weights: float = 0.5
    prior: float = 0.0
    bootstrap: float = 1.0
    lovasz: float = 0.0
    target: float = 0.19
    whole: float = 0.0
    shuffled: float = 0.0
    levels: tuple[float, ...] = (0.15, 0.3, 0.6, 1.0)
    reward: str = "gain"
    policy_loss: str = "reinforce"
    judged: float = 1.0
    distill: float = 0.5
    teachers: tuple[str, ...] = ()
    taught_by: str | None = None
    evaluations: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        # The name is that of a folder and of files in it.
        one_folder = Path(self.name).name == self.name and self.name not in ("", "..")
        check(one_folder, "name", self.name, "a name for a folder and files in it, without slashes")
        check(self.mode in MODES, "mode", self.mode, f"one of {', '.join(MODES)}")
        check(self.reward in REWARDS, "reward", self.reward, f"one of {', '.join(REWARDS)}")
        losses = ", ".join(POLICY_LOSSES)
        check(self.policy_loss in POLICY_LOSSES, "policy_loss", self.policy_loss, f"one of {losses}")
        foretold = self.policy_loss == "reinforce" or self.reward == "borders"
        check(foretold, "policy_loss", self.policy_loss, "reinforce: only the reward borders is known of every block")
        check(self.encoder in ENCODERS, "encoder", self.encoder, f"one of {', '.join(ENCODERS)}")
        check(self.block in BLOCK_SIDES, "block", self.block, f"one of {', '.join(map(str, BLOCK_SIDES))}")
        in_blocks = all(side > 0 and side % self.block == 0 for side in self.crop)
        check(in_blocks, "crop", self.crop, f"width and height in whole blocks of {self.block}")
        check(0 < self.scale[0] <= self.scale[1], "scale", self.scale, "the smallest and the largest scale")
        sizes = self.input_size is None or all(side >= 32 and side % 4 == 0 for side in self.input_size)
        check(sizes, "input_size", self.input_size, "width and height of 32 or more pixels, multiples of 4")
        check(self.aspect >= 1, "aspect", self.aspect, "1 or more")
        check(self.batch >= 1, "batch", self.batch, "at least 1")
        check(self.epochs > 0, "epochs", self.epochs, "more than 0")
        for key in ("lr", "policy_lr", "encoder_lr", "evaluations"):
            check(getattr(self, key) > 0, key, getattr(self, key), "more than 0")
        check(0 <= self.pasted <= MOST_PASTED, "pasted", self.pasted, f"a number from 0 to {MOST_PASTED}")
        for key in ("weight_decay", "distill", "lovasz", "detail"):
            check(getattr(self, key) >= 0, key, getattr(self, key), "0 or more")
        check(self.seed >= 0, "seed", self.seed, "0 or more")
        for key in ("jitter", "ema"):
            check(0 <= getattr(self, key) <= 1, key, getattr(self, key), "a number from 0 to 1")
        check(self.warmup >= 1, "warmup", self.warmup, "at least 1 step")
        check(self.class_weights >= 0, "class_weights", self.class_weights, "0 or more")
        most = f"from 0 to the setting class_weights, {self.class_weights}: it takes back what the weights took"
        check(0 <= self.prior <= self.class_weights, "prior", self.prior, most)
        for key in ("scenes", "target", "whole", "shuffled"):
            check(0 <= getattr(self, key) <= 1, key, getattr(self, key), "a share from 0 to 1")
        learned = self.mode != "reinforce" or self.policy_loss == "regression"
        for key in ("whole", "shuffled"):
            chosen = "0 where policy_loss is reinforce: that learns from what the policy chose"
            check(learned or not getattr(self, key), key, getattr(self, key), chosen)
        check(self.whole + self.shuffled <= 1, "shuffled", self.shuffled, "at most what the setting whole leaves")
        check(not (self.subpixel and self.mode == "dense"), "subpixel", self.subpixel, "false: dense has no low blocks")
        stages = SHALLOW_STAGES.get(self.encoder, ())
        of_these = f"stages of {', '.join(map(str, stages))}" if stages else f"none: {self.encoder} has no such stages"
        check(set(self.shallow) <= set(stages), "shallow", self.shallow, of_these)
        check(not self.shallow or self.mode != "dense", "shallow", self.shallow, "none: dense has no low blocks")
        check(0 <= self.context <= MOST_CONTEXT, "context", self.context, f"from 0 to {MOST_CONTEXT}")
        policy = self.mode in ("reinforce", "policy")
        check(
            policy or not self.context, "context", self.context, "0: only the modes reinforce and policy have a policy"
        )
        check(policy or not self.detail, "detail", self.detail, "0: only the modes reinforce and policy have a policy")
        joint = self.mode != "policy"
        check(joint or not self.subpixel, "subpixel", self.subpixel, "false in mode policy: it is as `init` has it")
        check(joint or not self.shallow, "shallow", self.shallow, "none in mode policy: it is as `init` has it")
        check(joint or self.encoder_weights is None, "encoder_weights", self.encoder_weights, "null in mode policy")
        check(joint or self.init is not None, "init", self.init, "the model to train a policy for")
        check(joint or self.policy_loss == "regression", "policy_loss", self.policy_loss, "regression in mode policy")
        check(joint or self.distill == 0, "distill", self.distill, "0 in mode policy: the network does not learn")
        check(0 < self.judged <= 1, "judged", self.judged, "a share above 0, up to 1")
        taught = len(self.teachers) > 0 or self.taught_by is not None
        judged_all = self.judged == 1 or self.mode == "dense" or taught
        check(
            judged_all or not self.distill,
            "distill",
            self.distill,
            "0 where judged is below 1 and there are no teachers",
        )
        check(0 < self.bootstrap <= 1, "bootstrap", self.bootstrap, "a share above 0, up to 1")
        check(self.distill > 0 or not self.teachers, "teachers", self.teachers, "none where distill is 0")
        check(self.distill > 0 or self.taught_by is None, "taught_by", self.taught_by, "null where distill is 0")
        check(not self.teachers or self.taught_by is None, "taught_by", self.taught_by, "null beside teachers")
        good = len(self.levels) > 0 and all(0 <= level <= 1 for level in self.levels)
        check(good, "levels", self.levels, "shares from 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(good: bool, key: str, value: object, expected: str) -> None:
    if not good:
        raise UsageError(f"the setting {key} cannot be {value!r}: expected {expected}.")


def from_dict(values: dict[str, Any], where: str) -> TrainConfig:
    """Make a configuration of plain values; unknown keys and wrong types are errors that name them."""
    hints = get_type_hints(TrainConfig)
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(f"{where}: there is no setting {key!r}; the settings are {', '.join(hints)}.")
        try:
            kept[key] = as_setting(value, hints[key])
        except TypeError:
            expected = describe(hints[key])
            raise UsageError(f"{where}: the setting {key} cannot be {value!r}: expected {expected}.") from None
    return TrainConfig(**kept)


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """Read a YAML file of settings, over which `overrides` win.

    Raises:
        UsageError: if the file cannot be read or a setting is wrong.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"the configuration {path} cannot be read ({error}): give a YAML file of settings.") from error
    if not isinstance(values, dict):
        raise UsageError(f"the configuration {path} is not a list of settings: expected lines like 'epochs: 400'.")
    return from_dict({**values, **(overrides or {})}, str(path))
