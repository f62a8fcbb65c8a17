"""Networks, their weights and model cards."""

from segstream.models.files import Model, read_model, save_model
from segstream.models.policy_net import PolicyNet
from segstream.models.registry import DEFAULT_MODEL, load_model, model_names
from segstream.models.spec import ModelSpec
from segstream.models.swiftnet import SwiftNet

__all__ = [
    "DEFAULT_MODEL",
    "Model",
    "ModelSpec",
    "PolicyNet",
    "SwiftNet",
    "load_model",
    "model_names",
    "read_model",
    "save_model",
]
