"""Test the export of a network into a zoo folder."""

from pathlib import Path

import pytest
import torch

from cnnzoo.commands.export import Exported, export_model
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import ZooFolder
from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.models import create_model
from cnnzoo.models.compatibility import check_checkpoint


def export(zoo: Path, **arguments: str) -> Exported:
    torch.manual_seed(0)
    return export_model(
        create_model("digits_cnn"), DigitsDataModule(), "mine", ZooFolder(zoo), {}, {}, "fp32", 0, **arguments
    )


def test_a_license_is_claimed_only_if_it_is_given(tmp_path: Path):
    assert export(tmp_path).card.license == ""
    assert export(tmp_path, license="CC0-1.0").card.license == "CC0-1.0"
    cards = [read_card(path) for path in ZooFolder(tmp_path).files()]
    assert [(card.version, card.license, card.multiply_adds) for card in cards] == [
        (1, "", 14_260), (2, "CC0-1.0", 14_260),
    ]  # fmt: skip


def test_a_checkpoint_is_checked_without_a_trainer():
    model = create_model("digits_cnn")
    checkpoint = {"network": "DigitsCNN", "hyper_parameters": {}, "state_dict": model.state_dict()}
    check_checkpoint(model, checkpoint)
    checkpoint["train_sums"] = torch.zeros(3)
    model.on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="the checkpoint's DigitsCNN differs in size"):
        check_checkpoint(create_model("digits_cnn", hidden=3), checkpoint)
