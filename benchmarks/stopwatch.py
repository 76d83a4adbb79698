"""`cnnzoo fit` in a process of its own, timed by a Lightning callback: any checkout's command line can be measured."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer


class Stopwatch(Callback):
    """Callback that times the training batches without validation, and writes the figures as JSON.

    Args:
        path: of the JSON file.
        warm_up: steps that are not timed.
    """

    def __init__(self, path: str, warm_up: int = 0) -> None:
        self.path, self.warm_up = path, warm_up
        self.seconds, self.steps = 0.0, 0
        self.begun: tuple[float, int] | None = None  # time and step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if self.begun is None and trainer.global_step >= self.warm_up:
            self.begun = time.perf_counter(), trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.begun:
            start, step = self.begun
            self.seconds += time.perf_counter() - start
            self.steps += trainer.global_step - step
            self.begun = None

    on_validation_start = on_train_epoch_end  # type: ignore[assignment]

    def on_train_end(self, *_: Any) -> None:
        Path(self.path).write_text(json.dumps({"seconds": self.seconds, "steps": self.steps}))


def fit(
    config: str, *options: str, warm_up: int = 0, python: Path = Path(sys.executable), program: Any = ("-m", "cnnzoo")
) -> dict[str, Any]:
    """Run `cnnzoo fit` on the CPU, by `program` of `python`; return seconds and steps after the warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "figures.json")
        command = [str(python), *program, "fit", "--config", config, "--runs", folder]
        command += ["--trainer.accelerator", "cpu"]
        command += ["--trainer.callbacks+=stopwatch.Stopwatch", "--trainer.callbacks.path", str(path)]
        command += ["--trainer.callbacks.warm_up", str(warm_up), *options]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode or not path.exists():
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
        return json.loads(path.read_text())
