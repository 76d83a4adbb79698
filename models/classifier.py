"""`ImageClassifier`: base class of the networks, with normalization, loss and metrics."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

from .compatibility import check_checkpoint, check_data
from .distillation import Teacher
from .familiarity import Familiarity, Reading, channel_statistics, texture
from .optimization import OptimizerName, Schedule, check_settings, learning_rate_factor, make_optimizer

Batch = tuple[Tensor, Tensor]
TAUGHT = 0.9  # share of the loss that a teacher has; the labels have the rest


class Diverged(ValueError):
    """A training whose loss is no longer a finite number."""


class ImageClassifier(LightningModule):
    """A network with its loss, metrics and optimizer.

    Args:
        network: maps normalized float32 images [N, C, H, W] to logits [N, classes].
        input_shape: (channels, height, width) of one image.
        num_classes: number of classes.
        mean: per-channel mean that normalization subtracts, of pixels scaled to 0–1.
        std: per-channel standard deviation that normalization divides by.
        optimizer: sgd, adam, adamw (decoupled weight decay), or muon (see `Muon`).
        learning_rate: highest learning rate.
        momentum: of SGD, in Nesterov's form if above 0, and of Muon.
        weight_decay: of kernels (convolution and dense weights), never of biases; with Muon of dense weights alone.
            With plain SGD, the L2 penalty λ·Σw² of Keras' kernel regularizer is a weight decay of 2λ.
        schedule: constant, or a fall to 0: linear, or cosine (half a period).
        warmup: share of all steps in which the learning rate first rises from 0.
        label_smoothing: of the training loss.
        class_weights: balanced: each class counts the same in the training loss, however many images it has. What is
            learned from a teacher is not weighted.
        teacher: a model of the zoo, or an exported file, to learn from beside the labels; see `Teacher`.
        compile: train through torch.compile; the first step waits for the compiler.
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
        optimizer: OptimizerName = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        warmup: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | None = None,
        teacher: str | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_settings(optimizer, schedule, warmup, label_smoothing)
        self.save_hyperparameters(ignore=["network"], logger=False)
        # Convolution and pooling are faster in channels-last memory, on CPUs and on tensor cores.
        self.network: nn.Sequential = network.to(memory_format=torch.channels_last)
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        # Not in checkpoints: mean and std are arguments, and the temperature is fitted at export.
        self.register_buffer("mean", _per_channel("mean", mean, self.input_shape[0]), persistent=False)
        self.register_buffer("std", _per_channel("std", std, self.input_shape[0]), persistent=False)
        self.register_buffer("temperature", torch.ones(()), persistent=False)
        self.familiarity: Familiarity | None = None  # fitted at export, as the temperature
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.label_smoothing = label_smoothing
        self.balances_classes = class_weights == "balanced"
        self.weight_of_class: Tensor | None = None  # counted when training starts
        self.teacher_name = teacher
        self.teacher: Teacher | None = None  # loaded when training starts
        self.compile_network = compile
        self.fused = True  # the optimizer's step is one kernel
        # Loss, correct answers and images of this epoch on this device. A checkpoint holds the sums, unlike a metric
        # object, so that a resumed epoch continues them.
        self._train_sums = torch.zeros(3)
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_balanced_accuracy = MulticlassAccuracy(num_classes, average="macro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes], float32, as exported, for raw images [N, C, H, W]: uint8, or floats of 0–255."""
        return self.with_views(images, self.logits_in_training(images))

    def logits_in_training(self, images: Tensor) -> Tensor:
        """Return the logits that training and the validation within it see. Arguments as `forward`."""
        logits: Tensor = self.network(self._normalized(images))
        return logits

    def with_views(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the logits over all test-time views of images, given those of the images themselves."""
        return logits

    @property
    def views_an_image(self) -> float:
        """Mean number of views in which an image is looked at."""
        return 1.0

    def reset_fitted(self) -> None:
        """Forget what an export had fitted: the temperature and familiarity."""
        self.temperature.fill_(1.0)
        self.familiarity = None

    def fit_views(self, logits: Tensor) -> None:
        """Decide, by the logits of held-out images in one view, which images are looked at in all views."""

    def reading(self, images: Tensor) -> Reading:
        """Return what familiarity is computed from: the texture, statistics of the earlier activations, and logits.

        The texture stands for the first activation. Activations from the middle on vary too much between classes.
        """
        x, statistics = self._normalized(images), []
        for layer in self.network:
            x = layer(x)
            if isinstance(layer, nn.ReLU | nn.GELU):
                statistics.append(channel_statistics(x) if x.ndim == 4 else x)
        return [texture(images), *statistics[1 : max(2, len(statistics) // 2)]], x

    def answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of an exported file: logits and probabilities, and familiarity if it was fitted."""
        statistics, first = self.reading(images)
        logits = self.with_views(images, first)
        outputs = (logits, (logits / self.temperature).softmax(dim=1))
        return outputs if self.familiarity is None else (*outputs, self.familiarity(statistics, first))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities [N, classes], scaled by the temperature. Arguments as `forward`."""
        logits: Tensor = self(images)
        return (logits / self.temperature).softmax(dim=1)

    def _normalized(self, images: Tensor) -> Tensor:
        x = (images.float() / 255 - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.logits_in_training(images)
        # The mean over the images. cross_entropy's own weights would divide it by those of this batch's classes, and
        # weight the smoothing by the other classes.
        losses = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        if self.weight_of_class is not None:
            losses = losses * self.weight_of_class[labels]
        loss = losses.mean()
        if self.teacher:
            loss = (1 - TAUGHT) * loss + TAUGHT * self.teacher.loss(images, logits)
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            n = len(labels)
            self._train_sums += torch.stack([loss * n, correct, torch.full_like(loss, n)])
        return loss

    def on_train_start(self) -> None:
        self._seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))  # set by seed_everything
        self._train_sums = self._train_sums.to(self.device)
        data = getattr(self.trainer, "datamodule", None)
        if self.teacher_name:
            if data is None:
                raise ValueError("a teacher's classes are compared with those of a data module: give fit one")
            self.teacher = Teacher(self.teacher_name, self, data.classes)
        if self.balances_classes:
            if data is None:
                raise ValueError("class_weights counts the training images of a data module: give fit one")
            labels = data.splits["train"].labels[data.splits["train"].indices]
            self.weight_of_class = _balanced_weights(labels, self.num_classes).to(self.device)
        self._follow_learning_rate()
        if self.compile_network:
            self.network.compile()  # in place: the checkpoint's keys stay the same

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout is a function of (seed, epoch, batch), as the data is.
        key = np.random.SeedSequence((self._seed, self.current_epoch, batch_idx, self.global_rank))
        seed = int(key.generate_state(1)[0])
        if self.device.type == "cpu":  # torch.manual_seed is slow: it records a stack trace for each other device type
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def on_train_epoch_end(self) -> None:
        loss, correct, n = self._gathered_sums()
        self._train_sums.zero_()
        if not loss.isfinite():
            raise Diverged(
                f"the training loss of epoch {self.current_epoch} is {loss.item()}: lower model.learning_rate"
            )
        scores = {"train_loss": loss / n, "train_accuracy": correct / n}
        self.log_dict(scores, prog_bar=True, logger=False)
        # Lightning would log after it has saved the checkpoint. A process killed between the two would lose this row
        # when it is resumed.
        row = {"epoch": self.current_epoch} | {name: float(score) for name, score in scores.items()}
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step - 1)

    def diverges(self) -> bool:
        """Return whether the loss of this epoch is no number any more, on any device. A collective call."""
        return not self._gathered_sums()[0].isfinite()

    def _gathered_sums(self) -> Tensor:
        gathered = self.all_gather(self._train_sums)
        assert isinstance(gathered, Tensor)
        return gathered.view(-1, 3).sum(0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        fitting = self.trainer.state.fn == "fit"
        logits = self.logits_in_training(batch[0]) if fitting else self(batch[0])
        self._log_scores(logits, batch[1], "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the logits [N, classes], for callbacks."""
        logits: Tensor = self(batch[0])
        self._log_scores(logits, batch[1], "test")
        return logits

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the probabilities [N, classes] of a batch of images without labels."""
        return self.probabilities(batch)

    def _log_scores(self, logits: Tensor, labels: Tensor, split: Literal["val", "test"]) -> None:
        accuracy = self.val_accuracy if split == "val" else self.test_accuracy
        accuracy(logits, labels)
        scores: dict[str, Any] = {f"{split}_loss": F.cross_entropy(logits, labels), f"{split}_accuracy": accuracy}
        if split == "val":
            self.val_balanced_accuracy(logits, labels)
            scores["val_balanced_accuracy"] = self.val_balanced_accuracy
        self.log_dict(scores, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(labels))

    def make_optimizer(self) -> Optimizer:
        """Return the optimizer of all parameters."""
        return make_optimizer(
            self.optimizer_name, self.parameters(), self.learning_rate, self.momentum, self.weight_decay, self.fused
        )

    def configure_optimizers(self) -> Any:
        self.fused = not self.trainer.gradient_clip_val  # with mixed precision Lightning clips no fused optimizer
        optimizer = self.make_optimizer()
        self._configured = self.learning_rate, [group["lr"] for group in optimizer.param_groups]
        if self.schedule == "constant" and not self.warmup:
            return optimizer
        if self.trainer.max_epochs == -1 and self.trainer.max_steps == -1:
            raise ValueError("a schedule needs an end: set trainer.max_epochs or max_steps, or schedule: constant")
        scheduler = LambdaLR(optimizer, self._factor_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _follow_learning_rate(self) -> None:
        """Scale all rates and the schedule if a callback, such as LearningRateFinder, has changed `learning_rate`."""
        rate, rates = self._configured
        if rate == self.learning_rate:
            return
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        scheduler: Any = self.lr_schedulers()
        rates = [self.learning_rate / rate * one for one in rates]
        if scheduler:
            scheduler.base_lrs = rates
        factor = self._factor_at(scheduler.last_epoch) if scheduler else 1.0
        for group, one in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = one * factor

    def _factor_at(self, step: int) -> float:
        # Reading estimated_stepping_batches creates the loader. It is not read at step 0: Lightning has not yet
        # restored a checkpoint's position in the epoch then, and the loader would start at 0.
        progress = step / self.trainer.estimated_stepping_batches if step else 0.0
        return learning_rate_factor(progress, self.schedule, self.warmup)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train()  # an answer before, or pretrained=True, leaves it in eval mode
            self.reset_fitted()  # by an export: after more training it no longer fits
        check_data(self, getattr(self.trainer, "datamodule", None))
        if str(self.trainer.precision).endswith("-true") and self.trainer.precision != "32-true":
            raise ValueError(f"--trainer.precision is {self.trainer.precision}: use bf16-mixed or 16-mixed")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network"] = type(self).__name__
        if (data := getattr(self.trainer, "datamodule", None)) is not None:
            checkpoint["classes"] = list(data.classes)
            checkpoint["prepare"] = getattr(data, "prepare_image", "photo")
        checkpoint["train_sums"] = self._gathered_sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_checkpoint(self, checkpoint)
        if self.global_rank == 0:  # the saved sums are those of all devices
            self._train_sums = checkpoint["train_sums"]


def _balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight for each class, inversely proportional to its number of images; 1 if all have as many."""
    return len(labels) / (classes * labels.bincount(minlength=classes).clamp_min(1))


def _per_channel(name: str, values: Sequence[float], channels: int) -> Tensor:
    if len(values) not in (1, channels):
        raise ValueError(f"{name} has {len(values)} values for {channels} channels: give 1 or {channels}")
    if name == "std" and not all(value > 0 for value in values):
        raise ValueError(f"std is {list(values)}: standard deviations are above 0")
    return torch.tensor(tuple(values)).view(1, -1, 1, 1)
