"""Try networks of torchvision: a step of training, export, int8, and looking inside.

    python benchmarks/torchvision_networks.py [--networks resnet18 …] [--side 64]

Random weights and random images: it is about whether the parts work, not about accuracy. Prints a table, in which a
failure stands with its reason, and writes benchmarks/torchvision_networks.json.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import options, output_of, save, show
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from cnnzoo.contract.card import ModelCard
from cnnzoo.models import TorchvisionClassifier, create_model
from cnnzoo.models.export import OnnxFile, check_parity, readings, to_onnx, torch_answers, with_card
from cnnzoo.models.familiarity import Familiarity
from cnnzoo.models.summary import multiply_adds
from cnnzoo.models.variants import to_int8
from cnnzoo.serve.inspector import Inspector

NETWORKS = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t")
CLASSES = ("a", "b", "c")


class Images(LightningDataModule):
    """Random images of three classes."""

    classes = CLASSES

    def __init__(self, shape: tuple[int, int, int], n: int = 512) -> None:
        super().__init__()
        self.image_shape = shape
        rng = torch.Generator().manual_seed(0)
        coarse = torch.randint(0, 256, (n, 3, 8, 8), generator=rng).float()
        large = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
        self.images, self.labels = large.to(torch.uint8), torch.arange(n) % len(CLASSES)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(self.images, self.labels), batch_size=32)


def measure(architecture: str, side: int) -> dict[str, str]:
    """Return what each part gives, or why it fails."""
    shape = (3, side, side)
    data = Images(shape)
    warnings.simplefilter("ignore")
    row: dict[str, str] = {"network": architecture}
    torch.manual_seed(0)
    model = TorchvisionClassifier(architecture, None, shape, len(CLASSES), optimizer="sgd", learning_rate=0.01)
    config = {"model": {"class_path": "TorchvisionClassifier", "init_args": {
        "architecture": architecture, "weights": None, "input_shape": shape, "num_classes": len(CLASSES)}}}  # fmt: skip
    card = ModelCard("tried", 1, CLASSES, shape, config=config)
    made: dict[str, Any] = {}

    def train() -> str:
        options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        Trainer(max_steps=1, limit_val_batches=0, enable_model_summary=False, **options).fit(model, data)
        return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, {multiply_adds(model) / 1e6:,.0f} M"

    def export() -> str:
        model.eval()
        known, held = readings(model, data.images[::2]), readings(model, data.images[1::2])
        model.familiarity = Familiarity.fit(known, held)
        made["proto"] = to_onnx(model)
        made["content"] = with_card(made["proto"], card)
        answers = torch_answers(model, data.images[:64])
        difference = check_parity(OnnxFile(made["content"]).answers(data.images[:64]), answers)
        return f"{len(made['content']) / 1e6:.1f} MB, {difference:.0e}"

    def back() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(made["content"])
            again = create_model("torchvision", pretrained=path)
        same = torch.equal(torch_answers(again, data.images[:8])[0], torch_answers(model, data.images[:8])[0])
        return "the same" if same else "differs"

    def int8() -> str:
        content = with_card(to_int8(made["proto"], data.images[:64]), card)
        ours, theirs = (OnnxFile(file).answers(data.images[:64])[1] for file in (made["content"], content))
        return f"{len(content) / 1e6:.1f} MB, {float((ours - theirs).abs().max()):.2f}"

    def inside() -> str:
        inspector = Inspector(made["content"])
        values = inspector.values(data.images[0].numpy(), list(inspector.layers))
        return f"{len(values)} layers, {sum(np.size(maps) for maps in values.values()) / 1e6:.1f} M values"

    for part in (train, export, back, int8, inside):
        row[part.__name__] = _tried(part)
    return row


def _tried(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as error:  # any failure is a finding
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"


def main() -> None:
    """Try, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--side", type=int, default=64, help="pixels along the side of an image (default: 64)")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = [measure(architecture, args.side) for architecture in args.networks]
    show("networks of torchvision", list(rows[0]), [list(row.values()) for row in rows])
    save(output_of(parser, args), rows)


if __name__ == "__main__":
    main()
