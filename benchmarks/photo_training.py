"""Speed of `cnnzoo fit --config photos` for MobileNetV3-small at 128 pixels, compared with a bare loop.

    python benchmarks/photo_training.py [--photos 2000] [--steps 40] [--rounds 5]

2,000 generated photos in ten classes (benchmarks/photos.py). Both sides train from random weights on the same batches
of 32, augmented as in the recipe, in bfloat16 if this machine has it. bare is a loop without Lightning. They take
turns, each in a process of its own, and only training steps after a warm-up are timed. Prints images a second, the
ratio of the medians, the minutes of an epoch, and the highest memory. Writes benchmarks/photo_training.json. Needs an
otherwise idle machine.
"""

import os
import resource
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import machine, number, options, output_of, run_alone, save, show, take_turns
from photos import BATCH, CLASSES, RECIPE, write
from stopwatch import fit

from cnnzoo.commands.provenance import usable_precision
from cnnzoo.datamodules import ImageFolderDataModule
from cnnzoo.models import TorchvisionClassifier

SIDE, WARM_UP = 128, 5
NETWORK = "mobilenet_v3_small"


def bare(folder: str, steps: int) -> dict[str, float]:
    """Train without Lightning; return seconds, and the highest memory in MB."""
    torch.set_num_threads(torch.get_num_threads())  # as `fit` does: MKL then keeps that number
    data = ImageFolderDataModule(folder, size=(SIDE, SIDE), batch_size=BATCH)
    data.prepare_data()
    data.setup("fit")
    model = TorchvisionClassifier(
        NETWORK, None, (3, SIDE, SIDE), CLASSES, optimizer="adamw", learning_rate=0.002, weight_decay=0.05
    )
    bfloat16 = usable_precision("bf16-mixed", "cpu") == "bf16-mixed"  # as `fit` does
    optimizer, done, start = model.make_optimizer(), 0, 0.0
    model.train()
    while done < steps + WARM_UP:
        for images, labels in data.train_dataloader():
            if done == WARM_UP:
                start = time.perf_counter()
            optimizer.zero_grad()
            augmented = RECIPE(images, (0, 0, done), 0, 1)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(model(augmented), labels)
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps + WARM_UP:
                break
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - start, "megabytes": memory}


def cnnzoo_fit(folder: str, steps: int) -> dict[str, float]:
    """Run `cnnzoo fit`; return seconds, and the highest memory in MB."""
    batches = steps + WARM_UP
    flags = ["--data.data_dir", folder, "--data.size", f"[{SIDE},{SIDE}]", "--model.architecture", NETWORK]
    flags += ["--model.weights", "null", "--model.freeze", "0", "--model.class_weights", "null"]
    flags += ["--trainer.max_steps", str(batches), "--trainer.limit_val_batches", "0", "--checkpoint.monitor", "null"]
    figures = fit("photos", *flags, warm_up=WARM_UP)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": figures["seconds"] * steps / figures["steps"], "megabytes": memory}


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["CNNZOO_CACHE"] = f"{name}/cache"
        folder = f"{name}/photos"
        write(Path(folder), args.photos)
        sides = {
            "bare": partial(run_alone, bare, folder, args.steps),
            "fit": partial(run_alone, cnnzoo_fit, folder, args.steps),
        }
        found = take_turns(sides, args.rounds)
    report = {}
    for side, rounds in found.items():
        rate = args.steps * BATCH / statistics.median(figures["seconds"] for figures in rounds)
        report[side] = {
            "images_a_second": rate,
            "minutes_an_epoch": args.photos / rate / 60,
            "megabytes": max(figures["megabytes"] for figures in rounds),
        }
    ratio = report["bare"]["images_a_second"] / report["fit"]["images_a_second"]
    show("training on photos", ["", *report["fit"]], [[s, *map(number, row.values())] for s, row in report.items()])
    print(f"fit takes {ratio:.3f} of the time of the bare loop")
    save(output_of(parser, args, "rounds"), {"machine": machine(), "sides": report, "ratio": ratio})


if __name__ == "__main__":
    main()
