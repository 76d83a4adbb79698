"""Where the time of a training step goes: samples of `fit`, by whose code was at work.

    CNNZOO_DATA=<folder> python benchmarks/step_profile.py [--network digits] [--images 400000]

Every millisecond of processor time the innermost Python frame is looked at; what C++ does counts for the frame that
called it. Prints each one's share, and microseconds a step.
"""

import argparse
import logging
import signal
import warnings
from collections import Counter
from types import FrameType

from rich.console import Console
from rich.table import Table
from training import RECIPES, fit

from cnnzoo.commands.memory import keep_freed_memory
from cnnzoo.models import create_model

# The first whose words are in a frame's file; the innermost frame that is one's decides.
PARTS = {
    "torch, backward": ("torch/autograd", "torch/_tensor.py"),
    "torch, optimiser's step": ("torch/optim", "models/muon.py"),
    "torch, network and loss": ("torch/nn", "torch/functional"),
    "cnnzoo, the next batch": ("datamodules/", "torch/utils/data"),
    "cnnzoo, training step": ("models/",),
    "Lightning": ("lightning/", "torchmetrics/", "lightning_utilities/"),
}
OTHER = "other"


def part(frame: FrameType | None) -> str:
    while frame:
        file = frame.f_code.co_filename
        for name, words in PARTS.items():
            if any(word in file for word in words):
                return name
        frame = frame.f_back
    return OTHER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=RECIPES, default="digits")
    parser.add_argument("--images", type=int, default=400_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keep_freed_memory()
    name, datamodule, batch, _, recipe = RECIPES[options.network]
    data = datamodule(batch_size=batch, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    steps = options.images // batch
    fit(create_model(name, **recipe), data, max(1, steps // 10))  # a warm-up
    samples: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: samples.update([part(frame)]))
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    seconds = fit(create_model(name, **recipe), data, steps)
    signal.setitimer(signal.ITIMER_PROF, 0)
    table = Table("at work", "share", "µs a step", title=f"{name}: {1e6 * seconds / steps:,.0f} µs a step")
    for where, count in samples.most_common():
        share = count / samples.total()
        table.add_row(where, f"{share:.0%}", f"{1e6 * share * seconds / steps:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
