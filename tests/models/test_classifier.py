"""Test the optimizer, the schedule and the loss that the networks share."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers import quiet
from lightning import Callback, Trainer
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.models import DigitsCNN, ImageClassifier, create_model
from cnnzoo.models.compatibility import check_checkpoint
from cnnzoo.models.optimization import SCHEDULES, OptimizerName, Schedule, learning_rate_factor, make_optimizer


def test_weight_decay_2_lambda_is_the_keras_l2_penalty():
    """One plain SGD step with weight decay 2λ equals one on the loss with λ·Σw² of the kernels added."""
    penalty, rate = 0.03, 0.1
    data = DigitsDataModule(batch_size=50)
    data.setup("fit")
    torch.manual_seed(1)
    model = DigitsCNN(optimizer="sgd", learning_rate=rate, weight_decay=2 * penalty)
    reference = {k: v.clone().requires_grad_() for k, v in model.state_dict().items()}

    seen = []
    model.training_step = lambda batch, i, step=model.training_step: (seen.append(batch), step(batch, i))[1]
    quiet(max_steps=1).fit(model, data)

    images, labels = seen[0]
    logits = torch.func.functional_call(model, reference, (images,))
    kernels = [v for k, v in reference.items() if k.endswith("weight")]
    loss = torch.nn.functional.cross_entropy(logits, labels) + penalty * sum((k**2).sum() for k in kernels)
    loss.backward()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, reference[key].detach() - rate * reference[key].grad)


class Changed(Callback):
    """Callback that changes the learning rate before the training, as LearningRateFinder does, and notes all rates."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        module.learning_rate *= 3
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = module.learning_rate

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_learning_rate_that_a_callback_finds_is_used(schedule: Schedule):
    """By all groups of parameters, each with its share, and as the start of the schedule."""

    def rates(factor: float, *callbacks: Callback) -> list[list[float]]:
        noted = Changed()
        network: Any = create_model("mnist_speednet", input_shape=(1, 8, 8), widths=(4, 4), schedule=schedule)
        network.learning_rate *= factor
        network.head_learning_rate *= factor
        network.bias_learning_rate *= factor
        noted.on_fit_start = lambda *_: None  # type: ignore[method-assign]
        quiet(max_epochs=1, callbacks=[*callbacks, noted]).fit(network, DigitsDataModule(batch_size=400))
        return noted.rates

    found = rates(1, Changed())
    assert len(found) == 3
    np.testing.assert_allclose(found, rates(3))


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_an_optimizer_has_every_parameter_once(name: OptimizerName):
    """Vision transformers have parameters of three dimensions."""
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((), (2,), (2, 3), (2, 3, 4), (2, 3, 4, 5))]
    groups = make_optimizer(name, parameters, 0.1, 0.9, 0.01).param_groups
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, parameters))


def test_muon_steps_are_orthogonal_for_kernels_and_plain_for_the_rest():
    torch.manual_seed(0)
    model = DigitsCNN(optimizer="muon", learning_rate=0.1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
    torch.nn.functional.cross_entropy(model(images), torch.arange(32) % 10).backward()
    model.make_optimizer().step()
    for name, value in model.named_parameters():
        if value.ndim == 4:
            step = (before[name] * len(value) ** 0.5 / before[name].norm() - value.detach()) / 0.1
            singular = torch.linalg.svdvals(step.flatten(1))
            assert 0.5 < singular.median() <= singular.max() < 1.5
        else:
            assert value.grad is not None
            torch.testing.assert_close(value.detach(), before[name] - 0.1 * value.grad)


class FewOfOne(DigitsDataModule):
    """The digits, with a tenth of the ones."""

    def load(self, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = super().load(train)
        kept = (labels != 1) | (torch.arange(len(labels)) % 10 == 0)
        return images[kept], labels[kept]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_balanced_class_weights_are_those_of_scikit_learn(smoothing):
    data = FewOfOne(batch_size=50)
    data.setup("fit")
    model = DigitsCNN(class_weights="balanced", optimizer="sgd", learning_rate=0.1, label_smoothing=smoothing)
    reference = {k: v.clone().requires_grad_() for k, v in model.state_dict().items()}
    seen = []
    model.training_step = lambda batch, i, step=model.training_step: (seen.append(batch), step(batch, i))[1]
    quiet(max_steps=1).fit(model, data)
    labels = data.splits["train"].labels[data.splits["train"].indices]
    weights = torch.tensor(compute_class_weight("balanced", classes=np.arange(10), y=labels.numpy())).float()
    assert weights[1] > 5 * weights[0]
    logits = torch.func.functional_call(model, reference, (seen[0][0],))
    losses = torch.nn.functional.cross_entropy(logits, seen[0][1], label_smoothing=smoothing, reduction="none")
    (weights[seen[0][1]] * losses).mean().backward()  # not divided by this batch's weights: rare classes are in few
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, reference[key].detach() - 0.1 * reference[key].grad)


def test_few_images_of_a_class_do_not_pull_the_others_to_it():
    """Smoothing that is weighted by the other classes would: then the best answer to most images is the rare class."""
    labels = torch.tensor([0] * 97 + [1] * 3)
    model = ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), (1, 1, 1), 2, label_smoothing=0.1)
    model.weight_of_class = len(labels) / (2 * labels.bincount())
    images = (255 * labels).to(torch.uint8).view(-1, 1, 1, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model.training_step((images, labels), 0)
        value.backward()
        return value

    optimizer.step(loss)
    likeliest, sure = model(images).softmax(1).max(1)[::-1]
    assert likeliest.tolist() == labels.tolist()
    torch.testing.assert_close(sure, torch.full_like(sure, 0.95), rtol=0, atol=1e-2)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_gradients_are_clipped_in_mixed_precision(optimizer: str):
    trainer = quiet(max_steps=1, precision="bf16-mixed", gradient_clip_val=1.0, limit_val_batches=0)
    trainer.fit(DigitsCNN(optimizer=optimizer), DigitsDataModule())
    assert trainer.global_step == 1


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_weights_of_another_precision_are_refused(precision: str):
    with pytest.raises(ValueError, match=f"--trainer.precision is {precision}: use bf16-mixed"):
        quiet(max_steps=1, precision=precision).fit(DigitsCNN(), DigitsDataModule())


def test_a_network_that_has_answered_trains_as_a_new_one():
    """Its dropout is on again."""
    model, seen = DigitsCNN().eval(), []
    model.training_step = lambda batch, i, step=model.training_step: (seen.append(model.training), step(batch, i))[1]
    quiet(max_steps=1, limit_val_batches=0).fit(model, DigitsDataModule())
    assert seen == [True]


@pytest.mark.parametrize(("warmup", "expected"), [(0.0, [1.0, 0.5, 0.0]), (0.5, [0.0, 1.0, 0.0])])
def test_cosine_schedule(warmup: float, expected: list[float]):
    assert [learning_rate_factor(p, "cosine", warmup) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected, abs=1e-12)


def test_every_schedule_starts_at_the_highest_learning_rate():
    assert tuple(SCHEDULES) == get_args(Schedule)
    for schedule in SCHEDULES:
        factors = [learning_rate_factor(step / 10, schedule, warmup=0.2) for step in range(11)]
        assert factors[:3] == [0.0, 0.5, 1.0], schedule
        assert all(0 <= factor <= 1 for factor in factors), schedule


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"warmup": 1.0}, r"warmup is 1\.0: expected a share"),
        ({"label_smoothing": 1.5}, r"label_smoothing is 1\.5: expected a share"),
        ({"label_smoothing": -1}, r"label_smoothing is -1: expected a share"),
        ({"hidden": 0}, "hidden is 0: give at least 1"),
        ({"optimizer": "rmsprop"}, "expected one of sgd"),
        ({"schedule": "step"}, "expected one of constant, cosine"),
        ({"std": [0.0]}, "above 0"),
    ],
)
def test_senseless_arguments_are_errors(arguments: dict, says: str):
    with pytest.raises(ValueError, match=says):
        DigitsCNN(**arguments)


def test_a_schedule_without_an_end_is_an_error():
    with pytest.raises(ValueError, match="a schedule needs an end"):
        quiet(max_epochs=-1).fit(DigitsCNN(schedule="cosine"), DigitsDataModule())


def test_data_of_another_shape_or_other_classes_is_an_error_before_training():
    with pytest.raises(ValueError, match=r"takes images of .*\(1, 16, 16\).*gives \(1, 8, 8\)"):
        quiet(max_epochs=1).fit(DigitsCNN(input_shape=(1, 16, 16)), DigitsDataModule())
    with pytest.raises(ValueError, match="has 3 outputs, DigitsDataModule has 10 classes"):
        quiet(max_epochs=1).fit(DigitsCNN(num_classes=3), DigitsDataModule())


def test_a_checkpoint_is_checked_without_a_trainer():
    model = create_model("digits_cnn")
    checkpoint = {"network": "DigitsCNN", "hyper_parameters": {}, "state_dict": model.state_dict()}
    check_checkpoint(model, checkpoint)
    checkpoint["train_sums"] = torch.zeros(3)
    model.on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="the checkpoint's DigitsCNN differs in size"):
        check_checkpoint(create_model("digits_cnn", hidden=3), checkpoint)
