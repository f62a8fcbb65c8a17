"""What a training has reached: figures on val under every policy, and the model file."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segstream import flops
from segstream.evaluate import class_iou, mean_iou
from segstream.models import Model, ModelSpec, PolicyNet, SwiftNet, save_model
from segstream.training import validate
from segstream.training.config import TrainConfig
from segstream.training.job import Job
from segstream.training.setup import Data
from segstream.training.validate import Split, measure

SHARES = (0.1, 0.3, 0.4)  # of high blocks, at which policies are compared, beside that of FEWER_GMACS
FEWER_GMACS = 0.4  # of the dense network's: the paper's 60 % fewer


def quick_results(job: Job, config: TrainConfig, data: Data) -> tuple[dict[str, float], float, Tensor | None]:
    """Figures to choose the best weights by: results by name, the score, and the grids of val that were used.

    The score is the mIoU on val of the network as it is meant to be used; for "mixed" the mean of all blocks high and
    of the heuristic policy, and a tenth of the demo's.
    """
    network, block, classes = job.network, config.block, len(data.classes)
    if config.mode == "dense":
        miou = mean_iou(measure(network, data.val, None, block, classes))
        return {"val_miou": miou}, miou, None
    results: dict[str, float] = {}
    if job.policy_net is not None:
        high = learned_grid(job.policy_net, data.val, data.train, config)
        results["val_miou"] = mean_iou(measure(network, data.val, high, block, classes))
        results["share"] = float(high.float().mean())
        score = results["val_miou"]
    else:
        high = validate.share_of(validate.detail_scores(data.val, block), config.target)
        results["val_miou_heuristic"] = mean_iou(measure(network, data.val, high, block, classes))
        results["val_miou_high"] = mean_iou(measure(network, data.val, None, block, classes))
        score = (results["val_miou_heuristic"] + results["val_miou_high"]) / 2
    if data.demo is not None and data.extra and config.scenes:
        results["demo_miou"] = mean_iou(measure(network, data.demo, None, block, classes))
        score += 0.1 * results["demo_miou"]
    return results, score, high


def learned_grid(policy_net: PolicyNet, split: Split, train: Split, config: TrainConfig) -> Tensor:
    """The learned policy's grids of a split, bool [M, GH, GW], with its threshold calibrated on training images."""
    bias = validate.threshold_for(validate.learned_scores(train, policy_net, config.block), config.target)
    return validate.learned_scores(split, policy_net, config.block) > bias


def finish(job: Job, config: TrainConfig, data: Data, out: Path) -> dict[str, Any]:
    """Measure the averaged weights under every policy and write the model file `out`/NAME.safetensors.

    Returns:
        Results as JSON will hold them.
    """
    network, block = job.network, config.block
    model = make_model(job, config, data)
    costs = flops.measure(model, block)
    rows, columns = data.val.grid_shape(block)
    dense_gmacs = costs.dense_gmacs(rows, columns)
    thresholds = {"learned": 0.5} if job.policy_net is not None else {}
    thresholds["heuristic"] = validate.threshold_for(validate.detail_scores(data.train, block), config.target)
    measured = policy_rows(job, config, data, costs, thresholds["heuristic"])
    shrunk = []
    if config.mode == "dense":
        shrunk = [shrunk_row(network, data, dense_gmacs, rows * columns * block**2, s) for s in (0.5, 0.67, 0.8)]
    demo = None
    if data.demo is not None and config.scenes:
        demo = mean_iou(measure(network, data.demo, None, block, len(data.classes)))
        model.spec.results["demo_miou_high"] = demo
    for row in measured:
        if row.get("calibrated") or row["policy"] in ("high", "dense"):
            model.spec.results[f"val_miou_{row['policy']}"] = round(row["miou"], 4)
            model.spec.results[f"val_share_{row['policy']}"] = round(row["share"], 4)
    model.spec.thresholds.update(thresholds)
    save_model(model, out / f"{config.name}.safetensors")
    summary = {f"{r['policy']}@{r['share']:.2f}{'*' if r.get('calibrated') else ''}": r["miou"] for r in measured}
    return {
        "name": config.name,
        "policies": {key: round(value, 4) for key, value in summary.items()},
        "dense_gmacs": dense_gmacs,
        "rows": measured,
        "shrunk": shrunk,
        "demo_miou_high": demo,
    }


def policy_rows(
    job: Job, config: TrainConfig, data: Data, costs: flops.Costs, heuristic_threshold: float
) -> list[dict[str, Any]]:
    """Figures of the averaged network on val under every policy, at several shares and with calibrated thresholds.

    Args:
        costs: GMAC of the model.
        heuristic_threshold: score above which the heuristic policy, as it is used, runs a block high.
    """
    network, block = job.network, config.block
    scores = {  # float32 [M, GH, GW] by policy
        "random": validate.random_scores(data.val, block),
        "heuristic": validate.detail_scores(data.val, block),
        "oracle": validate.oracle_scores(network, data.val, job.objective.weights, block, job.objective.prior),
    }
    if job.policy_net is not None:
        scores["learned"] = validate.learned_scores(data.val, job.policy_net, block)
    images, rows, columns = scores["random"].shape

    def row(policy: str, high: Tensor | None) -> dict[str, Any]:  # bool [M, GH, GW]; None runs the dense network
        matrix = measure(network, data.val, high, block, len(data.classes))
        n_high = images * rows * columns if high is None else int(high.sum())
        iou = class_iou(matrix).tolist()
        return {
            "policy": policy,
            "miou": mean_iou(matrix),
            "share": n_high / (images * rows * columns),
            "gmacs": costs.gmacs(rows, columns, n_high, policy, images) / images,
            "iou": {name: value for name, value in zip(data.classes, iou, strict=True) if value == value},  # not NaN
        }

    found = [row("dense" if config.mode == "dense" else "high", None)]
    found.append(row("low", torch.zeros_like(scores["random"], dtype=torch.bool)))
    shares = [config.target]
    if config.mode != "dense":
        shares = [SHARES[0], share_at(FEWER_GMACS, costs, rows, columns), *SHARES[1:]]
    found += [row(name, validate.share_of(s, share)) for share in shares for name, s in scores.items()]
    if job.policy_net is not None:
        in_use = row("learned", learned_grid(job.policy_net, data.val, data.train, config))
        found.append({**in_use, "calibrated": True})
    in_use = row("heuristic", scores["heuristic"] > heuristic_threshold)
    found.append({**in_use, "calibrated": True})
    return found


def share_at(part: float, costs: flops.Costs, rows: int, columns: int) -> float:
    """The share of high blocks at which the learned policy costs `part` of the dense network's GMAC, 0..1."""
    none, every = (costs.gmacs(rows, columns, n, "learned") for n in (0, rows * columns))
    return min(1.0, max(0.0, (part * costs.dense_gmacs(rows, columns) - none) / (every - none)))


def shrunk_row(network: SwiftNet, data: Data, dense_gmacs: float, pixels: int, scale: float) -> dict[str, Any]:
    """The dense network on images shrunk by about `scale`; GMAC go with the pixels of its padded input."""
    height, width = data.val.content
    size = (max(1, round(width * scale / 32)) * 32, round(height * scale / 4) * 4)
    padded = -(-size[0] // 32) * -(-size[1] // 32) * 32 * 32
    miou = mean_iou(measure(network, data.val, None, 64, len(data.classes), size))
    return {"policy": "dense", "size": list(size), "miou": miou, "gmacs": dense_gmacs * padded / pixels}


def make_model(job: Job, config: TrainConfig, data: Data) -> Model:
    """The averaged weights as a model on the CPU; the policy's last bias moved so that 0 is its threshold."""
    network = copy.deepcopy(job.network).cpu()
    policy_net = None
    if job.policy_net is not None:
        policy_net = copy.deepcopy(job.policy_net)
        validate.calibrate_policy(policy_net, data.train, config.block, config.target)
        policy_net = policy_net.cpu().eval()
    size = config.input_size or data.val.content[::-1]
    if job.spec is not None:  # the network is that model's still, at the size and in the blocks that this was made for
        own = replace(job.spec, name=config.name, size=size, block=config.block, thresholds={}, results={})
        return Model(network.eval(), policy_net, replace(own, policy="learned"))
    spec = ModelSpec(
        name=config.name,
        encoder=config.encoder,
        classes=data.classes,
        palette=data.palette,
        size=size,
        block=config.block,
        shallow=network.shallow,
        policy={"dense": "high", "mixed": "heuristic", "reinforce": "learned"}[config.mode],
        data=config.dataset + (" and drawn street scenes" if config.scenes else ""),
        licence="as the data's" if config.dataset != "camvid" else "research use (CamVid)",
        training={"class_weights": config.class_weights, "prior": config.prior},
    )
    return Model(network.eval(), policy_net, spec)
