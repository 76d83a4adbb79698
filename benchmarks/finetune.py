"""Value of pretrained weights with few training images: configs/finetune.yaml with and without them.

The task is new to all networks of the zoo: is a handwritten digit even or odd? The digits are scikit-learn's, of other
writers than MNIST's and 8×8 pixels. Each run draws its own training images; all are tested on the same 360 digits.

    python benchmarks/finetune.py                        # the table, and benchmarks/finetune.json
    python benchmarks/finetune.py --folder even_or_odd   # only write the images, for cnnzoo fit --config finetune
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import options, output_of, save, show
from PIL import Image

from cnnzoo.datamodules import DigitsDataModule

CLASSES = ("even", "odd")
# A network without weights may want larger steps, so it also gets the learning rate of the mnist recipe.
STARTS = {
    "mnist_cnn": ["--pretrained", "mnist_cnn"],
    "from scratch": ["--pretrained", "null"],
    "from scratch, rate 0.002": ["--pretrained", "null", "--model.learning_rate", "0.002"],
}


def write_images(folder: Path, of_each: int, seed: int) -> None:
    """Write train/ and test/ with a folder for each class; the digits as in MNIST, 20×20 in 28×28."""
    data = DigitsDataModule()
    rng = np.random.default_rng(seed)
    for split, train in (("train", True), ("test", False)):
        images, labels = (tensor.numpy() for tensor in data.load(train))
        for parity, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            chosen = np.flatnonzero(labels % 2 == parity)
            for number in rng.permutation(chosen)[:of_each] if train else chosen:
                frame = Image.new("L", (28, 28))
                frame.paste(Image.fromarray(images[number, 0]).resize((20, 20), Image.Resampling.BICUBIC), (4, 4))
                frame.save(folder / split / name / f"{number}.png")


def accuracy(folder: Path, flags: list[str], seed: int) -> float:
    """Train on the images of a folder, test the last checkpoint, and return the test accuracy."""
    with tempfile.TemporaryDirectory() as runs:
        data = ["--data.data_dir", str(folder)]
        seeds = ["--seed_everything", str(seed), "--data.seed", str(seed)]
        _cnnzoo("fit", "--config", "finetune", "--runs", runs, *data, *seeds, *flags)
        run = Path(runs, "even_or_odd/version_0")
        _cnnzoo("test", "--config", str(run), "--runs", runs, "--ckpt_path", "last", *data)
        return json.loads((run / "metrics.json").read_text())["accuracy"]


def _cnnzoo(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "cnnzoo", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--folder", type=Path, help="write the images here and stop")
    parser.add_argument("--images", type=int, nargs="+", default=[5, 10, 20, 50], help="of each class")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2 (default: 5)")
    args = parser.parse_args()
    if args.folder:
        write_images(args.folder, 20, seed=0)
        return
    found: dict[str, dict[str, list[float]]] = {}
    for count in args.images:
        for seed in range(args.seeds):
            print(f"{count} images of each class, seed {seed}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                write_images(Path(folder), count, seed)
                for title, flags in STARTS.items():
                    row = found.setdefault(str(count), {}).setdefault(title, [])
                    row.append(accuracy(Path(folder), flags, seed))
    save(output_of(parser, args), {"images": 360, "accuracy": found})
    rows = [
        [count, *(f"{statistics.mean(r):.1%} ± {100 * statistics.stdev(r):.1f}" for r in by_start.values())]
        for count, by_start in found.items()
    ]
    show(f"even or odd: test accuracy over {args.seeds} seeds", ("images of each class", *STARTS), rows)


if __name__ == "__main__":
    main()
