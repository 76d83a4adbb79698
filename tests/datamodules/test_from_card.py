"""Test that the dataset of a card is built with the arguments of the card."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cnnzoo.datamodules
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import ContractError
from cnnzoo.datamodules import Augmentation, DigitsDataModule, ImageDataModule, from_card


class Stripes(ImageDataModule):
    """A dataset of a new kind, with arguments of its own."""

    classes = ("down", "across")
    image_shape = (1, 4, 4)

    def __init__(self, width: int = 1, secret: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.secret = secret

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        return torch.full((2, 1, 4, 4), self.width, dtype=torch.uint8), torch.arange(2)

    def describe(self) -> dict[str, Any]:
        return {"name": "stripes"}


@pytest.fixture(autouse=True)
def _stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cnnzoo.datamodules.DATASETS, "Stripes", Stripes)


def card(class_path: str = "a.Stripes", classes: tuple[str, ...] = Stripes.classes, **arguments: Any) -> ModelCard:
    data = {"class_path": class_path, "init_args": arguments}
    return ModelCard("stripes", 1, classes, (1, 4, 4), dataset={"name": "stripes"}, config={"data": data})


def test_a_new_datasets_own_argument_is_taken():
    data = from_card(card(width=3, seed=7, batch_size=16))
    assert isinstance(data, Stripes)
    assert (data.width, data.seed, data.batch_size) == (3, 7, 16)
    assert data.load(train=False)[0].unique().tolist() == [3]


def test_no_path_and_no_augmentation_is_taken_from_a_card(tmp_path: Path):
    data = from_card(card(secret="/etc/passwd", data_dir="/etc", augmentation={"flip": True}), tmp_path)
    assert isinstance(data, Stripes)
    assert (data.secret, data.data_dir, data.augmentation) == (None, tmp_path, Augmentation())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (card("a.Unheard"), "dataset is 'Unheard': expected one of CIFAR10DataModule, "),
        (card(depth=3), "Stripes has arguments that are unknown here: 'depth'"),
        (card(classes=("left", "right")), "classes are left, right, the data's down, across"),
        (card("ImageFolderDataModule", size=[8, 8]), "give the folder as --data_dir"),
        (card("DigitsDataModule"), "measured on {'name': 'stripes'}, the data here is {'name': 'digits'"),
        (ModelCard("stripes", 1, Stripes.classes, (1, 4, 4)), "dataset is ''"),
    ],
)
def test_a_card_that_does_not_fit_the_data_is_refused(wrong: ModelCard, message: str):
    with pytest.raises(ContractError, match=message):
        from_card(wrong)


def test_an_image_folder_gets_the_arguments_of_its_base_class(tmp_path: Path):
    (tmp_path / "train/down").mkdir(parents=True)
    (tmp_path / "train/across").mkdir()
    with pytest.raises(FileNotFoundError, match="no PNG or JPEG images"):
        from_card(card("x.ImageFolderDataModule", size=[8, 8], mode="L", seed=3), tmp_path)


def test_the_shipped_digits_are_found():
    dataset = DigitsDataModule(seed=4).describe()
    data = {"class_path": "cnnzoo.datamodules.DigitsDataModule", "init_args": {"seed": 4, "data_dir": None}}
    found = from_card(ModelCard("digits", 1, tuple("0123456789"), (1, 8, 8), dataset=dataset, config={"data": data}))
    assert found.seed == 4
