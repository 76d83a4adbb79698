"""Checks that data and checkpoints fit a network, before Lightning fails with a less clear error."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .classifier import ImageClassifier


def check_data(model: "ImageClassifier", data: Any) -> None:
    """Raise ValueError if the images' shape or the classes of `data` do not fit the network.

    Args:
        data: a data module. Nothing is checked that it does not have.
    """
    shape, classes = getattr(data, "image_shape", None), getattr(data, "classes", None)
    if shape is not None and tuple(shape) != model.input_shape:
        raise ValueError(
            f"{type(model).__name__} takes images of (channels, height, width) {model.input_shape}, "
            f"{type(data).__name__} gives {tuple(shape)}: set model.init_args.input_shape or the data's size"
        )
    if classes is not None and len(classes) != model.num_classes:
        raise ValueError(
            f"{type(model).__name__} has {model.num_classes} outputs, {type(data).__name__} has "
            f"{len(classes)} classes ({', '.join(classes[:12])}): set model.init_args.num_classes"
        )


def check_checkpoint(model: "ImageClassifier", checkpoint: dict[str, Any]) -> None:
    """Raise ValueError if a checkpoint is of another network, another normalization, or another size."""
    name = checkpoint.get("network", "an unknown network")
    if name != type(model).__name__:
        raise ValueError(
            f"the checkpoint holds {name}, the config builds {type(model).__name__}: "
            "give the config that the checkpoint was trained with (config.yaml in its run folder)"
        )
    for key, value in (("mean", model.mean), ("std", model.std)):
        # A subclass may have no such argument, or derive it from others.
        trained = torch.tensor(tuple(checkpoint["hyper_parameters"].get(key) or value.flatten().tolist()))
        if not torch.equal(*torch.broadcast_tensors(trained, value.flatten().cpu())):
            raise ValueError(
                f"the checkpoint's {name} was trained on pixels normalized with {key} {trained.tolist()}, not "
                f"{value.flatten().tolist()}: give the config.yaml from the checkpoint's run folder"
            )
    saved, own = checkpoint["state_dict"], model.state_dict()
    for key in sorted(saved.keys() | own.keys()):
        theirs, ours = (tuple(state[key].shape) if key in state else "missing" for state in (saved, own))
        if theirs != ours:
            raise ValueError(
                f"the checkpoint's {name} differs in size from the one the config builds: {key} is {theirs} "
                f"in the checkpoint and {ours} here; give the config.yaml from the checkpoint's run folder"
            )
