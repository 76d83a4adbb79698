"""The command line: `python train.py SUBCOMMAND`, or `cnnzoo SUBCOMMAND` where it is installed.

Lightning's CLI in subclass mode: a config names a network and a dataset by their classes. What the subcommands do is
in `commands/`.
"""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnnzoo.__main__ import main
from cnnzoo.commands import checkpoints, runs
from cnnzoo.commands.config import FIT_FLAGS, ConfigFile, Parser, SaveConfig, shipped_names
from cnnzoo.commands.hardware import keep_threads, precision
from cnnzoo.commands.memory import keep_freed_memory
from cnnzoo.commands.provenance import Provenance, command, commit, made
from cnnzoo.commands.report import Report
from cnnzoo.commands.summary import summary_table
from cnnzoo.commands.trainer import Trainer, console, say
from cnnzoo.contract.names import check_name
from cnnzoo.datamodules import ImageDataModule
from cnnzoo.models import ImageClassifier, pretrained

BEST = {"filename": "best", "monitor": "val_accuracy", "mode": "max", "enable_version_counter": False}


class ZooCLI(LightningCLI):
    """Adds to Lightning's CLI: the zoo's subcommands, run folders, and checkpoints called best and last."""

    run: Path | None = None  # the run folder that this command writes into or reads from
    claimed = False  # whether it was made for this command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)  # which runs the subcommand
        finally:
            if self.claimed and self.run:
                runs.remove_unless_begun(self.run)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        names = ("fit", "validate", "test", "predict", "export", "sweep", "summary", "preview")
        return {name: {"model", "datamodule", "images"} for name in names}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = Parser(**kwargs)
        help_text = f"a YAML file, a run folder, or a shipped recipe: {shipped_names()}"
        parser.add_argument("-c", "--config", action=ConfigFile, help=help_text)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="model", help="the model's name in run folders and in the zoo")
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
        start = "begin with these weights: a model of the zoo by its name, or an exported file"
        parser.add_argument("--pretrained", type=str | None, help=start)
        every = "steps between checkpoints within an epoch; none by default"
        parser.add_argument("--checkpoint_every", type=PositiveInt | None, help=every)
        parser.add_lightning_class_args(checkpoints.Best, "checkpoint")
        parser.set_defaults({f"checkpoint.{key}": value for key, value in BEST.items()})

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        assert isinstance(parser, Parser)
        if subcommand in ("fit", "sweep"):
            parser.shown = FIT_FLAGS
        if subcommand == "predict":
            parser.add_argument("images", nargs="+", type=Path, help="PNG or JPEG files, or folders of them")
            self._subcommand_method_arguments["predict"].append("images")
        return parser

    def _parse_ckpt_path(self) -> None:
        """In place of Lightning's, which lets a checkpoint's network overrule the config's in silence."""
        config = self.config[self.config.subcommand]
        check_name(config.name)
        files = [Path(str(file)) for file in config.get("config") or []]
        self.run = next((run for file in reversed(files) if (run := runs.run_of(file))), None)
        if wanted := config.get("ckpt_path"):
            try:
                found = runs.find_checkpoint(str(wanted), self.run, config.runs, config.name)
            except FileNotFoundError:
                if (self.config.subcommand, wanted) != ("fit", "last"):
                    raise
                config["ckpt_path"] = None  # stopped before its first checkpoint, or never started
                return
            runs.check_checkpoint(found)
            config["ckpt_path"] = str(found)
            self.run = runs.run_of(found)
            self._dump_config()
            if self.run and self.config.subcommand == "fit":
                runs.check_resumed(self.run, self.config_dump, found)
            elif self.run and self.config.subcommand != "predict":  # which looks at no image of the dataset
                runs.check_data(self.run, self.config_dump)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        options = self.config[self.subcommand]
        if options.get("ckpt_path"):
            runs.check_classes(Path(options.ckpt_path), self.datamodule.classes)
        if self.subcommand == "fit":
            config["logger"] = config["logger"] or self._loggers(options)
            config["plugins"] = config["plugins"] or checkpoints.WholeCheckpoints()
            if not self.datamodule.val_fraction:
                callbacks = []  # there is no best one without validation
            callbacks.append(Provenance())
            callbacks += checkpoints.last(options.checkpoint_every)
            if config["enable_progress_bar"] is not False:
                callbacks.append(RichProgressBar(refresh_rate=20))  # a refresh costs as much as a small step
        else:
            # In full precision, whatever it was trained in: so it is exported and served.
            config |= {"logger": False, "enable_checkpointing": False, "precision": "32-true"}
            callbacks = [self._report(options)] if self.subcommand == "test" else []
            if self.subcommand == "predict":  # a handful of files: dealing them out would be of no use
                config |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        if (usable := precision(config["precision"], config["accelerator"])) != config["precision"]:
            say("This device computes no bfloat16 in hardware: training in float32")
            config["precision"] = usable
        trainer = super()._instantiate_trainer(config, callbacks)
        assert isinstance(trainer, Trainer)
        trainer.name = options.name
        trainer.config = self._trained_with()
        return trainer

    def _loggers(self, options: Namespace) -> list[Any]:
        if getattr(rank_zero_only, "rank", 0) or int(os.environ.get("NODE_RANK", 0)):
            return [CSVLogger(options.runs, options.name)]  # the first process' folder is broadcast
        if self.run and options.ckpt_path:
            step = torch.load(options.ckpt_path, map_location="cpu", weights_only=True)["global_step"]
            return checkpoints.loggers(self.run, step)
        self.run, self.claimed = runs.claim(options.runs, options.name), True
        return checkpoints.loggers(self.run)

    def _report(self, options: Namespace) -> Report:
        folder = self.run or Path(options.ckpt_path).parent
        details = {
            "model": options.name,
            "dataset": self.datamodule.describe(),
            "seed": self._trained_with()["seed_everything"],
            "checkpoint": os.path.relpath(options.ckpt_path, folder),
            "command": command(),
            "commit": commit(),
            "training": made(options.ckpt_path),
        }
        self.report = Report(folder, details, folder / "metrics.csv")
        return self.report

    def _trained_with(self) -> dict[str, Any]:
        """The resolved configuration; of a checkpoint, its run's, but for what may be another after training."""
        self._dump_config()
        if self.subcommand == "sweep" or not self.run or not (self.run / runs.CONFIG).is_file():
            return self.config_dump
        config = runs.read_config(self.run)
        now = self.config_dump["model"].get("init_args", {})
        config["model"].setdefault("init_args", {}).update({key: now[key] for key in runs.FREE if key in now})
        return config

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit:
            if self.trainer.interrupted and self.run and (self.run / runs.CHECKPOINTS).is_dir():
                say(f"Stopped. Go on with: cnnzoo fit --config {self.run} --ckpt_path last")
                sys.exit(128 + signal.SIGINT)
            raise

    def before_fit(self) -> None:
        options = self.config[self.subcommand]
        if options.pretrained and not options.ckpt_path:
            pretrained.init_from(self.model, options.pretrained)
        if self.trainer.is_global_zero:
            console.print(summary_table(self.model))

    def after_fit(self) -> None:
        if self.run is None or not self.trainer.is_global_zero:
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_score", None)
        which = "" if best is not None else " --ckpt_path last"
        say(f"Best validation accuracy {best:.2%}" if best is not None else "Nothing was validated")
        say(f"Run folder  {self.run}\nNext        cnnzoo test --config {self.run}{which}")
        say(f"            cnnzoo export --config {self.run}{which}")

    def after_test(self) -> None:
        if self.trainer.is_global_zero:
            say(f"Wrote {', '.join(self.report.written)} in {self.report.folder}")


def run(name: str, arguments: list[str]) -> None:
    """Run a subcommand with its arguments. Raises ValueError or OSError with a message for the user."""
    sys.argv = [sys.argv[0], name, *arguments]
    _quieten()
    keep_freed_memory()
    keep_threads()
    try:
        ZooCLI(
            ImageClassifier,
            ImageDataModule,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},  # a new run has a new folder; a resumed one its newest config
            trainer_class=Trainer,
            trainer_defaults={"num_sanity_val_steps": 0, "enable_model_summary": False},
            seed_everything_default=0,
            parser_kwargs={
                "description": "Train, test, export and look at small image classifiers. What is in a "
                "zoo folder: cnnzoo list, card, get and verify."
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
        )
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        ours: BaseException = error
        while ours.__cause__ and str(ours).startswith("Does not validate"):  # jsonargparse's words around them
            ours = ours.__cause__
        raise ours from None


def _quieten() -> None:
    # The loaders have no workers on purpose: the images are in memory, in one tensor.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")
    warnings.filterwarnings("ignore", ".*number of training batches.*logging interval.*")
    warnings.filterwarnings("ignore", ".*Total length of .list. across ranks is zero.*")  # val_fraction: 0
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    # A resumed run's history is kept.
    warnings.filterwarnings("ignore", ".*Previous log files in this directory will be deleted.*")
    # An advertisement, and what devices there are not.
    noise = ("Tip:", "available: False", "used: False", "Loading `train_dataloader`")
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.addFilter(lambda record: not any(words in record.getMessage() for words in noise))


if __name__ == "__main__":
    main()
