"""One point of a sweep: the recipe with other arguments, trained and measured."""

import copy
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping

from ..models.export import torch_logits
from .config import build
from .grid import place
from .hardware import precision


def run_point(config: dict[str, Any], arguments: dict[str, Any]) -> dict[str, float]:
    """Trains the recipe with `arguments` in place of its own; accuracies 0-1 on all three parts."""
    config = copy.deepcopy(config)
    for argument, value in arguments.items():
        holder, key = place(config, argument)
        holder[key] = value
    model, data = build(config)
    trainer = _trainer(config["trainer"])
    trainer.fit(model, data)
    scores = {"train_loss": trainer.callback_metrics["train_loss"].item()}
    data.setup("test")
    for part in ("train", "val", "test"):
        dataset = data.splits[part]
        images, labels = dataset[torch.arange(len(dataset))]
        right = torch_logits(model, images).argmax(1) == labels
        scores[f"{part}_accuracy"] = right.double().mean().item()
    return scores


def _trainer(options: dict[str, Any]) -> lightning.Trainer:
    kept = {k: v for k, v in options.items() if v is not None and k not in ("callbacks", "plugins")}
    kept["precision"] = precision(kept.get("precision"), kept.get("accelerator"))
    own = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,  # once, at the end
        "callbacks": [EarlyStopping("train_loss", patience=10**9, check_on_train_epoch_end=True)],  # at NaN
    }
    return lightning.Trainer(**kept | own)
