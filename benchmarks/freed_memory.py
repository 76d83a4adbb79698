"""Time SpeedNet's steps with and without `provenance.keep_freed_memory`, in turn.

CNNZOO_DATA=<folder> python benchmarks/freed_memory.py
"""

import statistics
from functools import partial

from common import show, take_turns
from stopwatch import fit

flags = ["--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0", "--trainer.limit_train_batches", "7"]
kept = partial(fit, "cifar10_speednet", *flags, warm_up=1)
without = "from cnnzoo.commands import provenance; provenance.keep_freed_memory = lambda: None; "
returned = partial(kept, program=("-c", f"{without}from cnnzoo.__main__ import main; main()"))
times = take_turns({"kept": kept, "returned": returned}, rounds=3)
medians = {name: statistics.median(r["seconds"] / r["steps"] for r in runs) for name, runs in times.items()}
rows = [[name, f"{value:.3f}", f"{value / medians['kept']:.2f}"] for name, value in medians.items()]
show("SpeedNet", ("freed memory is", "s/step", "ratio"), rows)
