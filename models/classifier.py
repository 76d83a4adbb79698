"""`ImageClassifier`: everything the networks of the zoo share, from raw pixels to the optimiser."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

Batch = tuple[Tensor, Tensor]
Schedule = Literal["constant", "cosine", "linear"]


class ImageClassifier(LightningModule):
    """A network with its loss, metrics and optimiser.

    Args:
        network: maps normalised float32 images [N, C, H, W] to logits [N, classes].
        input_shape: (channels, height, width) of one image.
        num_classes: how many classes.
        mean: per-channel mean that normalisation subtracts, of pixels scaled to 0–1.
        std: per-channel standard deviation that it then divides by.
        optimizer: sgd (momentum below), adam, or adamw (decoupled weight decay).
        learning_rate: step size at its highest.
        momentum: of SGD; Nesterov's form when above 0.
        weight_decay: on kernels (convolution and dense weights), never on biases. Under plain SGD
            an L2 penalty λ·Σw² in the loss, as Keras' kernel regularizer adds it, is a weight decay of 2λ.
        schedule: constant; or the learning rate falls to 0, along half a cosine or a line (linear).
        warmup: the share of all steps over which the learning rate first rises from 0.
        label_smoothing: of the training loss only.
        compile: train through torch.compile; the first step waits until it is done.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self,
        network: nn.Sequential,
        input_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        optimizer: Literal["sgd", "adam", "adamw"] = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        warmup: float = 0.0,
        label_smoothing: float = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("optimizer", optimizer, ("sgd", "adam", "adamw"))
        _check_choice("schedule", schedule, get_args(Schedule))
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps, from 0 up to but not including 1, not {warmup}")
        self.save_hyperparameters(ignore=["network"], logger=False)
        # Channels last: convolutions and pooling of the CPU and of tensor cores want it so.
        self.network: nn.Sequential = network.to(memory_format=torch.channels_last)
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        # Not in the checkpoint: they are arguments, not something learned.
        self.register_buffer("mean", _per_channel("mean", mean, self.input_shape[0]), persistent=False)
        self.register_buffer("std", _per_channel("std", std, self.input_shape[0]), persistent=False)
        # Nor is this: `export` fits it, on images held out (calibration.py), and it is kept in the zoo's file.
        self.register_buffer("temperature", torch.ones(()), persistent=False)
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.label_smoothing = label_smoothing
        self.compile_network = compile
        # Of the epoch so far, on this device: the losses' sum, the correct answers, the images. Plain sums
        # rather than a metric object: next to no work in a step, and they go on in a resumed epoch.
        self._train_sums = torch.zeros(3)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook many times a step, for which torch would look among parameters, buffers and
        # modules each time: in a small network's step it is to be seen.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes], float32, of raw images [N, C, H, W]: uint8, or floats of 0–255."""
        x = (images.float() / 255 - self.mean) / self.std
        return self.network(x.contiguous(memory_format=torch.channels_last))

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities [N, classes], calibrated where the network has a temperature, of raw images [N, C, H, W]."""
        return (self(images) / self.temperature).softmax(dim=1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            n = len(labels)
            self._train_sums += torch.stack([loss * n, correct, torch.full_like(loss, n)])
        return loss

    def on_fit_start(self) -> None:
        self._seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))  # set by seed_everything
        self._train_sums = self._train_sums.to(self.device)
        if self.compile_network:
            self.network.compile()  # in place: the checkpoint's keys stay as they are

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout, like the data, is a function of (seed, epoch, batch), not of what was drawn before.
        key = np.random.SeedSequence((self._seed, self.current_epoch, batch_idx, self.global_rank))
        seed = int(key.generate_state(1)[0])
        if self.device.type == "cpu":  # torch.manual_seed would note for every other device where it was called from
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def on_train_epoch_end(self) -> None:
        loss, correct, n = self._gathered_sums()
        self._train_sums.zero_()
        scores = {"train_loss": loss / n, "train_accuracy": correct / n}
        self.log_dict(scores, prog_bar=True, logger=False)
        # Now, before the epoch's checkpoint: Lightning would write it after, and a process killed between the two
        # would resume without this epoch in its history.
        row = {"epoch": self.current_epoch} | {name: float(score) for name, score in scores.items()}
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step - 1)

    def _gathered_sums(self) -> Tensor:
        gathered = self.all_gather(self._train_sums)
        assert isinstance(gathered, Tensor)
        return gathered.view(-1, 3).sum(0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The logits [N, classes], for whoever reports on them."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Probabilities [N, classes] of a batch of images without labels."""
        return self.probabilities(batch)

    def _evaluate(self, batch: Batch, stage: Literal["val", "test"]) -> Tensor:
        images, labels = batch
        logits = self(images)
        accuracy = self.val_accuracy if stage == "val" else self.test_accuracy
        accuracy(logits, labels)
        scores: dict[str, Any] = {f"{stage}_loss": F.cross_entropy(logits, labels), f"{stage}_accuracy": accuracy}
        self.log_dict(scores, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(labels))
        return logits

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer()
        if self.schedule == "constant" and not self.warmup:
            return optimizer
        if self.trainer.max_epochs == -1 and self.trainer.max_steps == -1:
            raise ValueError("a schedule needs an end: set trainer.max_epochs or max_steps, or schedule: constant")
        scheduler = LambdaLR(optimizer, self._learning_rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _optimizer(self) -> Optimizer:
        kernels = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        if self.optimizer_name == "sgd":
            return torch.optim.SGD(groups, self.learning_rate, self.momentum, nesterov=self.momentum > 0, fused=True)
        adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer_name]
        return adam(groups, self.learning_rate, fused=True)

    def _learning_rate_at(self, step: int) -> float:
        # The number of steps is asked for only once training is under way: asked now, Lightning would set up the
        # loader before it has restored its place in a checkpoint, and the place would be lost.
        return self._learning_rate_factor(step / self.trainer.estimated_stepping_batches if step else 0.0)

    def _learning_rate_factor(self, progress: float) -> float:
        """The learning rate's share of its highest value, at `progress` 0–1 through training."""
        if progress < self.warmup:
            return progress / self.warmup
        if self.schedule == "constant":
            return 1.0
        fall = (progress - self.warmup) / (1 - self.warmup)
        return 1 - fall if self.schedule == "linear" else 0.5 + 0.5 * math.cos(math.pi * fall)

    def setup(self, stage: str) -> None:
        """Raises ValueError where the data does not fit the network."""
        data = getattr(self.trainer, "datamodule", None)
        shape, classes = getattr(data, "image_shape", None), getattr(data, "classes", None)
        if shape is not None and tuple(shape) != self.input_shape:
            raise ValueError(
                f"{type(self).__name__} takes images of (channels, height, width) {self.input_shape}, "
                f"{type(data).__name__} gives {tuple(shape)}: set model.init_args.input_shape or the data's size"
            )
        if classes is not None and len(classes) != self.num_classes:
            raise ValueError(
                f"{type(self).__name__} has {self.num_classes} outputs, {type(data).__name__} has "
                f"{len(classes)} classes ({', '.join(classes[:12])}): set model.init_args.num_classes"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network"] = type(self).__name__
        if (data := getattr(self.trainer, "datamodule", None)) is not None:
            checkpoint["classes"] = list(data.classes)
        checkpoint["train_sums"] = self._gathered_sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError for a checkpoint of another network, or of another size of this one."""
        name = checkpoint.get("network", "an unknown network")
        if name != type(self).__name__:
            raise ValueError(
                f"the checkpoint holds {name}, the config builds {type(self).__name__}: "
                "give the config that the checkpoint was trained with (config.yaml in its run folder)"
            )
        for key, value in (("mean", self.mean), ("std", self.std)):
            # Not there if a subclass leaves no choice.
            trained = torch.tensor(tuple(checkpoint["hyper_parameters"].get(key, value.flatten().tolist())))
            if not torch.equal(*torch.broadcast_tensors(trained, value.flatten().cpu())):
                raise ValueError(
                    f"the checkpoint's {name} was trained on pixels normalised with {key} {trained.tolist()}, not "
                    f"{value.flatten().tolist()}: give the config.yaml from the checkpoint's run folder"
                )
        saved, own = checkpoint["state_dict"], self.state_dict()
        for key in sorted(saved.keys() | own.keys()):
            there = tuple(saved[key].shape) if key in saved else "missing"
            here = tuple(own[key].shape) if key in own else "missing"
            if there != here:
                raise ValueError(
                    f"the checkpoint's {name} differs in size from the one the config builds: {key} is {there} "
                    f"in the checkpoint and {here} here; give the config.yaml from the checkpoint's run folder"
                )
        if self._trainer is not None and self.trainer.training and self.trainer.is_global_zero:
            self._train_sums = checkpoint["train_sums"]


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(choices)}")


def _per_channel(name: str, values: Sequence[float], channels: int) -> Tensor:
    if len(values) not in (1, channels):
        raise ValueError(f"{name} has {len(values)} values for {channels} channels: give 1 or {channels}")
    if name == "std" and not all(value > 0 for value in values):
        raise ValueError(f"std is {list(values)}: standard deviations are above 0")
    return torch.tensor(tuple(values)).view(1, -1, 1, 1)
