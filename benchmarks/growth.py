"""How the cost of `fit` grows with the data: MNIST's images, repeated on disk.

    CNNZOO_DATA=<folder> python benchmarks/growth.py [--shares 0.1 1 10] [--repeats 2]

For each share a folder with that many times MNIST's training images is written, and the MNIST network is trained on it
for an epoch, in a process of its own. Prints seconds an epoch, seconds from the start of the process to the first
step, and the memory that is the process's own (the images are mapped: their pages belong to the file). Writes
benchmarks/growth.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cnnzoo.datamodules import MNISTDataModule

RAW = Path("MNIST/raw")
COLUMNS = ("images", "startup_seconds", "epoch_seconds", "own_megabytes", "mapped_megabytes")


def write(source: Path, target: Path, share: float) -> None:
    """MNIST's files with `share` times the training images."""
    (target / RAW).mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (target / RAW / name).symlink_to((source / RAW / name).absolute())
    for name, header in (("train-images-idx3-ubyte", 16), ("train-labels-idx1-ubyte", 8)):
        content = (source / RAW / name).read_bytes()
        n = int.from_bytes(content[4:8])
        size, wanted = (len(content) - header) // n, round(n * share)
        with (target / RAW / name).open("wb") as file:
            file.write(content[:4] + wanted.to_bytes(4) + content[8:header])
            for start in range(0, wanted, n):
                file.write(content[header : header + size * min(n, wanted - start)])


def train(folder: str, started: float) -> None:
    """One epoch, in this process; prints the figures as JSON."""
    import lightning

    from cnnzoo.commands.memory import keep_freed_memory
    from cnnzoo.models import create_model

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
            if trainer.global_step == 0:
                self.first = time.time()

        def on_train_epoch_end(self, *_: Any) -> None:
            self.last = time.time()

    keep_freed_memory()
    watch, data = Watch(), MNISTDataModule(folder)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(
        max_epochs=1, limit_val_batches=0, accelerator="cpu", callbacks=[watch], **dict.fromkeys(quiet, False)
    )
    trainer.fit(create_model("mnist_cnn"), data)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(status[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile"))
    figures = (len(data.splits["train"]), watch.first - started, watch.last - watch.first, own, mapped)
    print(json.dumps(dict(zip(COLUMNS, figures, strict=True))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 1, 10])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    source = MNISTDataModule().data_dir
    MNISTDataModule().prepare_data()
    runs: dict[float, list[dict[str, float]]] = {share: [] for share in args.shares}
    with tempfile.TemporaryDirectory() as folder:
        for share in args.shares:
            write(source, Path(folder, str(share)), share)
        for _ in range(args.repeats):
            for share in args.shares:
                code = f"import growth; growth.train({str(Path(folder, str(share)))!r}, {time.time()})"
                here = Path(__file__).parent
                done = subprocess.run([sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, check=True)
                runs[share].append(json.loads(done.stdout.splitlines()[-1]))
    args.output.write_text(json.dumps({str(share): values for share, values in runs.items()}, indent=2) + "\n")

    table = Table("share", *COLUMNS, "µs an image")
    for share, values in runs.items():
        median = {column: statistics.median(value[column] for value in values) for column in COLUMNS}
        figures = [f"{median[column]:,.1f}" for column in COLUMNS[1:]]
        each = f"{median['epoch_seconds'] / median['images'] * 1e6:.0f}"
        table.add_row(f"{share:g}", f"{median['images']:,.0f}", *figures, each)
    Console().print(table)


if __name__ == "__main__":
    main()
