"""Cost of `cnnzoo fit` as the data grows: MNIST's images, repeated on disk.

    CNNZOO_DATA=<folder> python benchmarks/growth.py [--shares 0.1 1 10] [--rounds 2]

For each share, writes a folder with that many times MNIST's training images and trains the MNIST network on it for an
epoch. Prints seconds an epoch, seconds from the start of the process to the first step, and the process's own memory:
the images are memory-mapped, and their pages belong to the file. Writes benchmarks/growth.json.
"""

import os
import tempfile
from functools import partial
from pathlib import Path

from common import median, options, save, show, take_turns
from stopwatch import fit

from cnnzoo.datamodules import MNISTDataModule

RAW = Path("MNIST/raw")
IMAGES = 60_000
COLUMNS = ("images", "startup_seconds", "epoch_seconds", "own_megabytes", "mapped_megabytes")


def write(source: Path, target: Path, share: float) -> Path:
    """Write MNIST's files with `share` times the training images, and return the folder."""
    (target / RAW).mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (target / RAW / name).symlink_to((source / RAW / name).absolute())
    for name, header in (("train-images-idx3-ubyte", 16), ("train-labels-idx1-ubyte", 8)):
        content = (source / RAW / name).read_bytes()
        size, wanted = (len(content) - header) // IMAGES, round(IMAGES * share)
        with (target / RAW / name).open("wb") as file:
            file.write(content[:4] + wanted.to_bytes(4) + content[8:header])
            for start in range(0, wanted, IMAGES):
                file.write(content[header : header + size * min(IMAGES, wanted - start)])
    return target


def epoch(folder: Path) -> dict[str, float]:
    """Train an epoch and return the figures."""
    os.environ["CNNZOO_CACHE"] = str(folder / "cache")
    flags = ("--data.data_dir", str(folder), "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0")
    figures = fit("mnist_lecture", *flags)
    figures |= {"images": figures["steps"] * 64, "epoch_seconds": figures["seconds"]}
    return {column: figures[column] for column in COLUMNS}


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 1, 10])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    data = MNISTDataModule()
    data.prepare_data()
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            str(share): partial(epoch, write(data.data_dir, Path(folder, str(share)), share)) for share in args.shares
        }
        runs = take_turns(sides, args.rounds)
    save(args.output, runs)
    rows = []
    for share, values in runs.items():
        figures = {column: median(values, column) or 0 for column in COLUMNS}
        cells = [f"{figures[column]:,.1f}" for column in COLUMNS]
        rows.append([share, *cells, f"{figures['epoch_seconds'] / figures['images'] * 1e6:.0f}"])
    show("fit, as the data grows", ("share", *COLUMNS, "µs an image"), rows)


if __name__ == "__main__":
    main()
