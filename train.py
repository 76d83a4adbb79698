"""The commands that train a network or use a checkpoint: fit, validate, test, predict, export, sweep, summary, preview.

`python train.py COMMAND` is `cnnzoo COMMAND`.
"""

import os
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np
import rich
import torch
from lightning import Callback
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ProgressBar, RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.text import Text
from torch.utils.data import DataLoader

from cnnzoo.commands import figures, plots, provenance, repeated, report, runs
from cnnzoo.commands.checkpoints import Best, last_checkpoints, with_atomic_checkpoints
from cnnzoo.commands.cli import ZooCLI, quiet_lightning
from cnnzoo.commands.export import export_model
from cnnzoo.commands.grid import Axis, has_heatmaps, make_trainer
from cnnzoo.commands.held_out import check_held_out
from cnnzoo.commands.predict import image_files, top_cells, top_columns
from cnnzoo.commands.provenance import Provenance, usable_precision
from cnnzoo.commands.run_folder import RunFolder, SaveConfig
from cnnzoo.commands.sweep import default_workers, run_sweep
from cnnzoo.contract.card import Precision
from cnnzoo.contract.image_files import readable
from cnnzoo.contract.images import read_input
from cnnzoo.contract.zoo_folder import ZooFolder
from cnnzoo.models import pretrained


def run(name: str, arguments: list[str]) -> None:
    """Run a command of this module with the arguments that follow its name.

    Raises ValueError or OSError with a message for the user, and KeyboardInterrupt after Ctrl-C.
    """
    quiet_lightning()
    provenance.keep_freed_memory()
    provenance.keep_threads()
    function = LIGHTNING_COMMANDS[name]
    try:
        cli = ZooCLI(function, arguments)
        function(cli, **cli.options)
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error


def fit(cli: ZooCLI) -> None:
    """Train a network into a new run folder, or resume a run.

    The folder gets config.yaml, metrics.csv and the best and last checkpoint.
    """
    given, config = cli.config_init.trainer, cli.config
    if config.pretrained and not cli.checkpoint:
        pretrained.init_from(cli.model, config.pretrained)
        check_held_out(config.pretrained, cli.datamodule)
    if cli.model.teacher_name and not cli.checkpoint:
        check_held_out(cli.model.teacher_name, cli.datamodule)
    if cli.checkpoint:  # which has the rate that was found; the finder would begin again at epoch 0
        cli.callbacks = [one for one in cli.callbacks if type(one) is not LearningRateFinder]
        if any(isinstance(one, BatchSizeFinder) for one in cli.callbacks):
            raise ValueError(
                "a run with BatchSizeFinder cannot be resumed: start a new one with the size that it found, without it"
            )
    precision = usable_precision(given.precision, given.accelerator)
    if precision != given.precision:
        rank_zero_only(print)("This device has no bfloat16 in hardware: training in float32")
    saves = given.enable_checkpointing is not False and not given.fast_dev_run
    callbacks: list[Callback] = [Provenance()]
    best = Best(**config.checkpoint.as_dict())
    if saves:
        callbacks.append(SaveConfig(cli.config_yaml(skip=["ckpt_path"])))
        if cli.datamodule.validates:  # without validation there is no best checkpoint
            callbacks.append(best)
        callbacks += last_checkpoints(config.checkpoint_every)
    if given.enable_progress_bar is not False and not any(isinstance(one, ProgressBar) for one in cli.callbacks):
        callbacks.append(RichProgressBar(refresh_rate=20))  # a refresh costs as much as a small step
    resumed = cli.run if cli.checkpoint else None
    folder = RunFolder(config.runs, config.name, resumed, cli.checkpoint) if saves else None
    own = given.logger if isinstance(given.logger, list) else [given.logger]
    loggers = [*(folder.loggers if folder else []), *(logger for logger in own if isinstance(logger, Logger))]
    try:
        options = {"precision": precision, "plugins": with_atomic_checkpoints(given.plugins)}
        trainer = cli.new_trainer(callbacks, logger=loggers, **options)
        if trainer.is_global_zero:
            rich.print(report.summary_table(cli.model))
        cli.run_loop(trainer, "fit", cli.datamodule)
    except KeyboardInterrupt:
        if folder and folder.path and folder.has_checkpoint:
            print(f"Stopped. Resume with: cnnzoo fit --config {quote(os.path.relpath(folder.path))} --ckpt_path last")
        elif folder:
            folder.remove_if_unused(interrupted=True)
        raise
    finally:
        if folder:
            folder.close()
    if folder and folder.path and folder.has_checkpoint:
        _print_next_steps(folder.path, config.checkpoint.monitor, best.best_model_score)


def validate(cli: ZooCLI) -> None:
    """Measure a checkpoint on the validation split."""
    if not cli.datamodule.validates:
        raise ValueError(
            "there are no validation images, since data.val_fraction is 0: give another, or run cnnzoo test"
        )
    cli.run_loop(cli.new_evaluator(), "validate", cli.datamodule)


def test(cli: ZooCLI) -> None:
    """Measure a checkpoint on the test set, and write metrics.json and plots.

    They go into its run folder. With --trainer.fast_dev_run nothing is written.
    """
    checkpoint = cli.checkpoint
    assert checkpoint
    if cli.config_init.trainer.fast_dev_run:
        cli.run_loop(cli.new_evaluator(), "test", cli.datamodule)
        return
    folder = cli.run or checkpoint.parent
    details = {
        "model": cli.config.name,
        "dataset": cli.datamodule.describe(),
        "seed": runs.trained_settings(cli.run, cli.settings)["seed_everything"],
        "checkpoint": os.path.relpath(checkpoint, folder),
        "command": provenance.command(),
        "commit": provenance.commit(),
        "training": provenance.training_provenance(checkpoint),
    }
    written = report.Report(folder, details)
    trainer = cli.new_evaluator(written)
    cli.run_loop(trainer, "test", cli.datamodule)
    if trainer.is_global_zero:
        print(f"Wrote {', '.join(written.written)} in {os.path.relpath(folder)}")


def predict(cli: ZooCLI, images: list[Path], top_k: int = 3) -> None:
    """Classify image files with a checkpoint.

    Args:
        top_k: the number of classes to print for each image.
    """
    if top_k < 1:
        raise ValueError(f"--top_k is {top_k}: give at least 1")
    files = image_files(images)
    assert cli.checkpoint
    prepare = runs.read_checkpoint(cli.checkpoint).get("prepare") or cli.datamodule.prepare_image  # older: not there
    pixels = np.stack([read_input(file, cli.datamodule.image_shape, prepare) for file in files])
    inputs: Any = DataLoader(list(torch.from_numpy(pixels)), batch_size=256)  # type: ignore[arg-type]
    whole = {"limit_predict_batches": 1.0, "fast_dev_run": False}
    # More devices are of no use for a few files.
    trainer = cli.new_evaluator(devices=1, num_nodes=1, strategy="auto", **whole)
    answers = cli.run_loop(trainer, "predict", inputs)
    classes = cli.datamodule.classes
    table = top_columns(min(top_k, len(classes)))
    for file, row in zip(files, torch.cat(answers).numpy(), strict=True):
        table.add_row(*map(Text, [readable(file), *top_cells(row, classes, top_k)]))
    rich.print(table)


def export(
    cli: ZooCLI,
    zoo: Path | None = None,
    quantize: Literal["int8"] | None = None,
    fp16: bool = False,
    corruption_images: int | None = None,
) -> None:
    """Export a checkpoint to the zoo as a self-describing ONNX file.

    Its answers must be those of torch on the whole test set.

    Args:
        zoo: folder for <name>/<version>/model.onnx, the next version each time; by default CNNZOO_ZOO, else zoo/.
        quantize: int8 for a quarter of the size, as <name>_int8, if the validation accuracy is nearly the same.
        fp16: half the size, as <name>_fp16, on the same condition.
        corruption_images: number of test images for the card's accuracy on corrupted images; 0 leaves it out. By
            default at most 2,000, or 200 of more than 96 × 96 pixels.
    """
    if quantize and fp16:
        raise ValueError("--quantize int8 and --fp16 make one file each: give one of them")
    checkpoint = cli.checkpoint
    assert checkpoint
    content = runs.read_checkpoint(checkpoint)
    cli.model.on_load_checkpoint(content)
    cli.model.load_state_dict(content["state_dict"])
    precision: Precision = quantize or ("fp16" if fp16 else "fp32")
    done = export_model(
        cli.model,
        cli.datamodule,
        cli.config.name,
        ZooFolder(zoo) if zoo else ZooFolder.default(),
        config=runs.trained_settings(cli.run, cli.settings),
        training=provenance.training_provenance(checkpoint),
        precision=precision,
        corruption_images=corruption_images,
        license=cli.config.license,
    )
    print(done.card.summary)
    print(done.check)
    before, after = (done.card.metrics[f"calibration_error{suffix}"] for suffix in ("_before", ""))
    print(f"Calibration error {after:.4f} at temperature {done.card.temperature:.3f}; {before:.4f} before")
    print(f"Wrote {done.path} ({done.path.stat().st_size:,} bytes)")


def sweep(
    cli: ZooCLI,
    grid: list[Axis] | None = None,
    seeds: str | None = None,
    output: Path | None = None,
    storage: str | None = None,
    workers: int | None = None,
) -> None:
    """Train over a grid of settings, or with several seeds, and compare the results.

    Writes a table, and heatmaps for two axes; prints the best point, and means over seeds.

    Run it again after a stop: finished points are not run again, failed ones are.

    Args:
        grid: the axes, each with argument, values, label and factor: see configs/digits_sweep.yaml.
        seeds: train each point with each of these seeds, such as 0,1,2; the means and deviations are in seeds.json.
        output: folder of sweep.csv, heatmaps and storage; sweeps/<name> by default.
        storage: an SQLAlchemy URL that several machines share; by default a file in the output folder.
        workers: the number of processes on this machine, each with one thread; by default one on each GPU, or core.
    """
    cli.datamodule.prepare_data()  # once, before there are many processes
    keys = ("seed_everything", "pretrained", "model", "data", "trainer")
    recipe = {key: value for key in keys if (value := cli.settings.get(key)) is not None}
    axes = [*(grid or []), *([repeated.seed_axis(seeds)] if seeds else [])]
    workers = default_workers(recipe["trainer"]) if workers is None else workers
    table = run_sweep(recipe, axes, output or Path("sweeps") / cli.config.name, storage, workers)
    found = repeated.points(table, axes)
    print(f"Wrote {table}" + (" and its heatmaps" if has_heatmaps(axes) else ""))
    if seeds:
        path = table.with_name("seeds.json")
        trainer = make_trainer(recipe["trainer"])
        facts = {
            "command": provenance.command(),
            "dataset": cli.datamodule.describe(),
            "hardware": provenance.hardware(trainer, threads=1),
            "precision": trainer.precision,
            "epochs": trainer.max_epochs,
        }
        repeated.write(found, facts, path)
        print(f"Wrote {path}")
        rich.print(report.seeds_table(found))
    best = repeated.best(found)
    if grid:
        point = ", ".join(f"{name} = {value}" for name, value in best.values.items())
        print(f"Chosen on validation: {point}; validation {best.percent('val_accuracy')}")
        print(f"Its test accuracy: {best.percent('test_accuracy')}")


def summary(cli: ZooCLI) -> None:
    """Show a network layer by layer."""
    rich.print(report.summary_table(cli.model))


def preview(cli: ZooCLI, count: int = 25, output: Path | None = None) -> None:
    """Draw a sheet of labeled training images.

    Args:
        count: the number of images.
        output: the PNG file; previews/<name>.png by default.
    """
    if count < 1:
        raise ValueError(f"--count is {count}: give at least 1")
    path = figures.check_png(output) or Path("previews") / f"{cli.config.name}.png"
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    train = data.splits["train"]
    chosen = np.random.default_rng(data.seed).choice(len(train), size=min(count, len(train)), replace=False)
    images, labels = train[torch.from_numpy(chosen)]
    title = f"{data.describe()['name']}: {len(chosen)} of {len(train):,} training images"
    plots.captioned_images(images.numpy(), [data.classes[label] for label in labels], path, title)
    print(f"Wrote {path}")


LIGHTNING_COMMANDS = {
    function.__name__: function for function in (fit, validate, test, predict, export, sweep, summary, preview)
}


def _print_next_steps(folder: Path, monitor: str, best: torch.Tensor | None) -> None:
    option = " --ckpt_path last" if best is None else ""
    print("Nothing was validated" if best is None else f"Best {_in_words(monitor)} {_figure(monitor, best)}")
    folder = Path(os.path.relpath(folder))
    given = f"--config {quote(str(folder))}{option}"
    if runs.read_config(folder)["trainer"].get("num_nodes", 1) > 1:
        given += " --trainer.num_nodes 1"  # else it would wait for the other machines
    print(f"Run folder  {folder}\nNext        cnnzoo test {given}\n            cnnzoo export {given}")


def _in_words(metric: str) -> str:
    return metric.replace("val_", "validation ", 1).replace("_", " ")


def _figure(metric: str, value: torch.Tensor) -> str:
    return f"{value:.2%}" if metric.endswith("accuracy") else f"{value:.4g}"


def main() -> None:
    """Run the `cnnzoo` command."""
    from cnnzoo.__main__ import main

    main()


if __name__ == "__main__":
    main()
