"""Lightning's Trainer with the zoo's own verbs: each public method is a subcommand of the CLI."""

from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from ..contract.zoo_folder import ZooFolder
from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from . import export, predict, preview, summary, sweep
from .grid import Axis
from .hardware import cores
from .provenance import made

console = Console()


def say(message: str) -> None:
    """Prints without wrapping, so that paths and commands can be copied."""
    console.print(message, soft_wrap=True, markup=False, highlight=False)


class Trainer(lightning.Trainer):
    """The training loop: Lightning's Trainer. --help shows the flags that are used most."""

    name = "model"  # the CLI's --name
    config: dict[str, Any]  # the resolved configuration

    def fit(  # type: ignore[override]
        self, model: ImageClassifier, datamodule: ImageDataModule, ckpt_path: str | None = None
    ) -> None:
        """Train a network into a new run folder: config, metrics, best and last checkpoint.

        Args:
            ckpt_path: a .ckpt file to go on from, or last: the newest run of this name.
        """
        super().fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def validate(  # type: ignore[override]
        self, model: ImageClassifier, datamodule: ImageDataModule, ckpt_path: str = "best"
    ) -> None:
        """Measure a checkpoint on the validation part.

        Args:
            ckpt_path: a .ckpt file, or best or last of the run (the newest one of this name).
        """
        super().validate(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def test(  # type: ignore[override]
        self, model: ImageClassifier, datamodule: ImageDataModule, ckpt_path: str = "best"
    ) -> None:
        """Measure a checkpoint on the test set; write metrics.json and pictures into its run folder.

        Args:
            ckpt_path: a .ckpt file, or best or last of the run (the newest one of this name).
        """
        super().test(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def predict(  # type: ignore[override]
        self,
        model: ImageClassifier,
        datamodule: ImageDataModule,
        images: list[Path],
        ckpt_path: str = "best",
        top_k: int = 3,
    ) -> None:
        """Print what a checkpoint sees in image files.

        Args:
            images: PNG or JPEG files, or folders of them.
            ckpt_path: a .ckpt file, or best or last of the run (the newest one of this name).
            top_k: how many classes to print for each image.
        """
        if top_k < 1:
            raise ValueError(f"--top_k is {top_k}: give at least 1")
        files = predict.image_files(images)
        inputs: DataLoader[torch.Tensor] = DataLoader(list(predict.read_inputs(files, datamodule)), batch_size=256)  # type: ignore[arg-type]
        answers = super().predict(model, inputs, ckpt_path=ckpt_path, weights_only=True)
        probabilities = torch.cat(answers)  # type: ignore[arg-type]
        console.print(predict.top_table(files, probabilities, datamodule.classes, top_k))

    def export(
        self,
        model: ImageClassifier,
        datamodule: ImageDataModule,
        ckpt_path: str = "best",
        zoo: Path = Path("zoo"),
        quantize: Literal["int8"] | None = None,
        fp16: bool = False,
        corruption_images: int = 2000,
    ) -> None:
        """Write a checkpoint into the zoo as ONNX, if it answers on the whole test set as torch does.

        Args:
            ckpt_path: a .ckpt file, or best or last of the run (the newest one of this name).
            zoo: folder that gets <name>/<version>/model.onnx, the next version each time.
            quantize: int8 for a quarter of the size, as <name>_int8, if it is nearly as good on the validation part.
            fp16: half the size, as <name>_fp16, on the same condition.
            corruption_images: test images for the card's table of corruptions; 0 leaves it out.
        """
        if quantize and fp16:
            raise ValueError("--quantize int8 and --fp16 make one file each: give one of them")
        checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
        precision: export.Precision = quantize or ("fp16" if fp16 else "fp32")
        training = made(ckpt_path)
        done = export.export_model(
            model, datamodule, self.name, ZooFolder(zoo), self.config, training, precision, corruption_images
        )
        say(done.card.summary)
        say(done.gate)
        before, after = (done.card.metrics[f"calibration_error{which}"] for which in ("_before", ""))
        say(f"Calibration error {after:.4f} at temperature {done.card.temperature:.3f}; {before:.4f} before")
        say(f"Wrote {done.path} ({done.path.stat().st_size:,} bytes)")

    def sweep(
        self,
        model: ImageClassifier,
        datamodule: ImageDataModule,
        grid: list[Axis] | None = None,
        output: Path | None = None,
        storage: str | None = None,
        workers: int = cores(),
    ) -> None:
        """Train every point of a grid over any arguments; a table, of two axes heatmaps too, and the best point.

        Run it again to go on after a stop: finished points are not run again, failed ones are.

        Args:
            grid: the axes, each with argument, values, label and factor: see configs/digits_sweep.yaml.
            output: folder of sweep.csv, heatmaps and storage; sweeps/<name> by default.
            storage: an SQLAlchemy address that several machines share; a file in the output by default.
            workers: processes on this machine.
        """
        datamodule.prepare_data()  # once, before there are many processes
        keys = ("seed_everything", "pretrained", "model", "data", "trainer")
        recipe = {key: self.config[key] for key in keys if self.config.get(key) is not None}
        table = sweep.sweep(recipe, grid or [], output or Path("sweeps") / self.name, storage, workers)
        best = sweep.best_point(table)
        point = ", ".join(f"{axis.name} = {best[axis.name]}" for axis in grid or [])
        say(f"Wrote {table}" + (" and its heatmaps" if len(grid or []) == 2 else ""))
        say(f"Chosen on validation: {point}; validation {float(best['val_accuracy']):.2%}")
        say(f"Its test accuracy: {float(best['test_accuracy']):.2%}")

    def summary(self, model: ImageClassifier, datamodule: ImageDataModule) -> None:
        """Print every layer's volume, parameters and multiply-adds."""
        console.print(summary.summary_table(model))

    def preview(
        self, model: ImageClassifier, datamodule: ImageDataModule, count: int = 25, output: Path | None = None
    ) -> None:
        """Draw a sheet of labelled training images.

        Args:
            count: how many images.
            output: the PNG to write; previews/<name>.png by default.
        """
        path = output or Path("previews") / f"{self.name}.png"
        preview.preview(datamodule, count, path)
        say(f"Wrote {path}")
