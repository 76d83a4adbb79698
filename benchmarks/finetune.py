"""What a pretrained network is worth with few pictures: configs/finetune.yaml, with and without its weights.

The task is one that no network of the zoo was trained on: whether a handwritten digit is even or odd, the digits being
scikit-learn's, other writers' than MNIST's and at first 8×8 pixels. Each run draws its own training pictures; all are
tested on the same 360 digits, which nothing was chosen on.

    python benchmarks/finetune.py                        # the table, and benchmarks/finetune.json
    python benchmarks/finetune.py --folder even_or_odd   # only the pictures, for cnnzoo fit --config finetune
"""

import argparse
import json
import logging
import statistics
import tempfile
import warnings
from pathlib import Path

import lightning
import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cnnzoo.commands.config import SHIPPED, build
from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.models.export import torch_logits

CLASSES = ("even", "odd")


def write_pictures(folder: Path, of_each: int, seed: int) -> None:
    """train/ and test/ with a folder a class; the digits in MNIST's frame, 20×20 in 28×28."""
    data = DigitsDataModule()
    rng = np.random.default_rng(seed)
    for part, train in (("train", True), ("test", False)):
        images, labels = (tensor.numpy() for tensor in data.load(train))
        for parity, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            chosen = np.flatnonzero(labels % 2 == parity)
            for number in rng.permutation(chosen)[:of_each] if train else chosen:
                frame = Image.new("L", (28, 28))
                frame.paste(Image.fromarray(images[number, 0]).resize((20, 20), Image.Resampling.BICUBIC), (4, 4))
                frame.save(folder / part / name / f"{number}.png")


def accuracy(folder: Path, start: str | None, learning_rate: float | None, seed: int) -> float:
    """Of the recipe on the pictures in a folder, beginning with the weights of `start`; None is the recipe's rate."""
    recipe = yaml.safe_load((SHIPPED / "finetune.yaml").read_text()) | {"seed_everything": seed, "pretrained": start}
    recipe["data"]["init_args"] |= {"data_dir": str(folder), "seed": seed}
    if learning_rate:
        recipe["model"]["init_args"]["learning_rate"] = learning_rate
    model, data = build(recipe)
    trainer = lightning.Trainer(
        **recipe["trainer"], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data)
    images, labels = data.load(train=False)
    return (torch_logits(model, images).argmax(1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="write the pictures here and do no more")
    parser.add_argument("--pictures", type=int, nargs="+", default=[5, 10, 20, 50], help="of each class")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.folder:
        write_pictures(options.folder, 20, seed=0)
        return
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, list[float]]] = {}
    # A network without weights may want larger steps: it gets those of the mnist recipe as well.
    starts = {"mnist_cnn": ("mnist_cnn", None), "from scratch": (None, None), "from scratch, rate 0.002": (None, 0.002)}
    for count, seed in track([(n, seed) for n in options.pictures for seed in range(options.seeds)], "Training"):
        with tempfile.TemporaryDirectory() as name:
            write_pictures(Path(name), count, seed)
            for title, (start, rate) in starts.items():
                found.setdefault(str(count), {}).setdefault(title, []).append(accuracy(Path(name), start, rate, seed))
    table = Table("pictures of each class", *starts, title=f"even or odd: test accuracy over {options.seeds} seeds")
    for count, rows in found.items():
        table.add_row(count, *(f"{statistics.mean(r):.1%} ± {100 * statistics.stdev(r):.1f}" for r in rows.values()))
    Console().print(table)
    options.output.write_text(json.dumps({"images": 360, "accuracy": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
