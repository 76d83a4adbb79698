"""The lecture's way to train in PyTorch, and its recipes: a DataLoader, transforms of one image, a plain loop."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnzoo.datamodules import CIFAR10DataModule, DigitsDataModule, ImageDataModule, MNISTDataModule


class Recipe(NamedTuple):
    """The lecture's recipe for a dataset.

    Args:
        model: name of the network.
        data: the datamodule.
        epoch: images of an epoch.
        batch: images of a batch.
        transforms: after `ToTensor`.
        options: optimizer and learning_rate.
    """

    model: str
    data: type[ImageDataModule]
    epoch: int
    batch: int
    transforms: list[Any]
    options: dict[str, Any]

    def loader(self, images: torch.Tensor, labels: torch.Tensor) -> DataLoader[Any]:
        """Return batches of images, uint8 [N, C, H, W], transformed one by one."""
        transform = transforms.Compose([transforms.ToTensor(), *self.transforms])
        return DataLoader(PerSample(images, labels, transform), batch_size=self.batch, shuffle=True)

    def optimizer(self, network: torch.nn.Module) -> Optimizer:
        """Return the plain optimizer of the network's parameters."""
        make = torch.optim.Adam if self.options["optimizer"] == "adam" else torch.optim.SGD
        return make(network.parameters(), lr=self.options["learning_rate"])


_ADAM = {"optimizer": "adam", "learning_rate": 0.001}
_NORMALIZE = transforms.Normalize((0.1307,), (0.3081,))
RECIPES = {
    "digits": Recipe("digits_cnn", DigitsDataModule, 1437, 100, [], {"optimizer": "sgd", "learning_rate": 0.01}),
    "mnist": Recipe("mnist_cnn", MNISTDataModule, 60_000, 64, [_NORMALIZE], _ADAM),
    "cifar10": Recipe("cifar10_cnn", CIFAR10DataModule, 50_000, 32, [], _ADAM),
}


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """Dataset like torchvision's: from array to PIL to transformed tensor, one image at a time."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].squeeze())), int(self.labels[index])


def train(network: torch.nn.Module, loader: DataLoader[Any], optimizer: Optimizer, steps: int, warm_up: int) -> float:
    """Run the lecture's training loop and return the seconds for `steps` steps after the warm-up."""
    criterion = torch.nn.CrossEntropyLoss()
    running_loss = 0.0

    def step(data: torch.Tensor, target: torch.Tensor) -> None:
        nonlocal running_loss
        optimizer.zero_grad()
        loss = criterion(network(data), target)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()

    network.train()
    return time_steps(step, loader, steps, warm_up)


def time_steps(step: Callable[..., None], loader: Iterable[Any], steps: int, warm_up: int) -> float:
    """Return the seconds for `steps` steps after the warm-up, with as many epochs as that takes."""
    done, start = 0, time.perf_counter()
    while True:
        for batch in loader:
            if done == warm_up:
                start = time.perf_counter()
            step(*batch)
            done += 1
            if done == warm_up + steps:
                return time.perf_counter() - start
