"""The command line: `python train.py SUBCOMMAND`, or `cnnzoo SUBCOMMAND` where it is installed.

Lightning's CLI in subclass mode: a config names a network and a dataset by their classes.
"""

import argparse
import logging
import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

from cnnzoo.commands import checkpoints, runs
from cnnzoo.commands.export import command, commit
from cnnzoo.commands.report import Report
from cnnzoo.commands.summary import summary_table
from cnnzoo.commands.trainer import Trainer, console, say
from cnnzoo.datamodules import ImageDataModule
from cnnzoo.models import ImageClassifier

CONFIGS = Path(__file__).parent / "configs"
# Of the Trainer's many flags, those that --help shows; the others work as well.
SHOWN = (
    "max_epochs", "max_time", "accelerator", "devices", "num_nodes", "strategy", "precision", "callbacks",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "gradient_clip_val",
)  # fmt: skip


def find_config(value: str) -> str:
    """The file that --config names: a file, a run folder, or a shipped recipe by its name."""
    path = Path(value)
    shipped = CONFIGS / f"{value}.yaml"
    if path.is_dir():
        path = path / runs.CONFIG
    if path.is_file() or not shipped.is_file():
        if not path.is_file() and path.suffix in ("", ".yaml", ".yml"):
            names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
            raise FileNotFoundError(f"no config {value}: give a YAML file, a run folder, or one of {names}")
        return str(path)
    return str(shipped)


class ConfigFile(ActionConfigFile):
    """--config, which takes what `find_config` takes."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        super().__call__(parser, cfg, find_config(str(values)), option_string)


class Parser(LightningArgumentParser):
    """Shows the flags that recipes use; every other flag of Lightning's Trainer and ModelCheckpoint works too."""

    def format_help(self, *args: Any) -> str:
        hidden = [a for a in self._actions if self._is_rare(a.dest)]
        texts = [a.help for a in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help(*args)
        finally:
            for action, text in zip(hidden, texts, strict=True):
                action.help = text

    @staticmethod
    def _is_rare(flag: str) -> bool:
        group, _, name = flag.partition(".")
        return group == "checkpoint" or (group == "trainer" and bool(name) and name not in SHOWN)


class SaveConfig(SaveConfigCallback):
    """config.yaml in the run folder, without the subcommand's own arguments: every subcommand reads it."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **kwargs: Any) -> None:
        config = config.clone()
        config.pop("ckpt_path", None)
        super().__init__(parser, config, **kwargs)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class ZooCLI(LightningCLI):
    """Adds to Lightning's CLI: the zoo's subcommands, run folders, and checkpoints called best and last."""

    run: Path | None = None  # the run folder that this command writes into or reads from
    claimed = False

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        names = ("fit", "validate", "test", "predict", "export", "sweep", "summary", "preview")
        return {name: {"model", "datamodule", "images"} for name in names}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = Parser(**kwargs)
        shipped = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        help_text = f"a YAML file, a run folder, or a shipped recipe: {shipped}"
        parser.add_argument("-c", "--config", action=ConfigFile, help=help_text)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="model", help="the model's name in run folders and in the zoo")
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
        parser.add_argument(
            "--checkpoint_every", type=int | None, help="steps between last checkpoints within an epoch"
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val_accuracy",
                "checkpoint.mode": "max",
                "checkpoint.enable_version_counter": False,
            }
        )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("images", nargs="+", type=Path, help="PNG or JPEG files, or folders of them")
            self._subcommand_method_arguments["predict"].append("images")
        return parser

    def _parse_ckpt_path(self) -> None:
        """In place of Lightning's, which lets a checkpoint's network overrule the config's in silence."""
        config = self.config[self.config.subcommand]
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

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        options = self.config[self.subcommand]
        if self.subcommand == "fit":
            config["logger"] = config["logger"] or self._loggers(options)
            config["plugins"] = config["plugins"] or checkpoints.WholeCheckpoints()
            # Of its own, because ModelCheckpoint(save_last=True) saves it only beside a new best one.
            callbacks.append(
                ModelCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
            )
        else:
            config |= {"logger": False, "enable_checkpointing": False}
            callbacks = [self._report(options)] if self.subcommand == "test" else []
            if self.subcommand == "predict":  # a handful of files: dealing them out would be of no use
                config |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        trainer = super()._instantiate_trainer(config, callbacks)
        assert isinstance(trainer, Trainer)
        trainer.name = options.name
        trainer.config = self._trained_with()
        return trainer

    @staticmethod
    def _last_checkpoints(every: int | None) -> list[ModelCheckpoint]:
        last = partial(ModelCheckpoint, filename="last", enable_version_counter=False)
        at_epoch_end = last(save_on_train_epoch_end=True)
        return [at_epoch_end, last(every_n_train_steps=every)] if every else [at_epoch_end]

    def _loggers(self, options: Namespace) -> list[Any]:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return [CSVLogger(options.runs, options.name)]  # rank 0's folder is broadcast
        if self.run and options.ckpt_path:
            step = torch.load(options.ckpt_path, map_location="cpu", weights_only=True)["global_step"]
            return checkpoints.loggers(self.run, step)
        self.run, self.claimed = runs.claim(options.runs, options.name), True
        return checkpoints.loggers(self.run)

    def _report(self, config: Namespace) -> Report:
        folder = self.run or Path(config.ckpt_path).parent
        details = {
            "model": config.name,
            "dataset": self.datamodule.describe(),
            "seed": config.seed_everything,
            "checkpoint": config.ckpt_path,
            "command": command(),
            "commit": commit(),
        }
        return Report(folder, details, folder / "metrics.csv")

    def _trained_with(self) -> dict[str, Any]:
        if self.run and (self.run / runs.CONFIG).is_file():
            return yaml.safe_load((self.run / runs.CONFIG).read_text())
        self._dump_config()
        return self.config_dump

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit:
            if self.trainer.interrupted and self.run:
                say(f"Stopped. Go on with: cnnzoo fit --config {self.run} --ckpt_path last")
                sys.exit(128 + signal.SIGINT)
            raise
        finally:
            if self.claimed and self.run:
                runs.remove_if_empty(self.run)

    def before_fit(self) -> None:
        if self.trainer.is_global_zero:
            console.print(summary_table(self.model))

    def after_fit(self) -> None:
        if self.run is None or not self.trainer.is_global_zero:
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_score", None)
        say(f"Best validation accuracy {best:.2%}" if best is not None else "Nothing was validated: see last.ckpt")
        say(f"Run folder  {self.run}\nNext        cnnzoo test --config {self.run}")
        say(f"            cnnzoo export --config {self.run}")

    def after_test(self) -> None:
        if self.trainer.is_global_zero:
            folder = self.run or Path(self.config[self.subcommand].ckpt_path).parent
            say(f"Wrote metrics.json, confusion_matrix.png, mistakes.png and learning_curves.png in {folder}")


def main() -> None:
    # The loaders have no workers on purpose: the images are in memory, in one tensor.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")
    warnings.filterwarnings("ignore", ".*number of training batches.*logging interval.*")
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.addFilter(lambda record: "Tip:" not in record.getMessage())  # an advertisement
    try:
        ZooCLI(
            ImageClassifier,
            ImageDataModule,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},  # a new run has a new folder; a resumed one its newest config
            trainer_class=Trainer,
            trainer_defaults={"num_sanity_val_steps": 0, "enable_model_summary": False},
            seed_everything_default=0,
            parser_kwargs={"description": "Train, test, export and look at small image classifiers."},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
        )
    except (ValueError, OSError) as error:
        if os.environ.get("CNNZOO_DEBUG"):
            raise
        sys.exit(f"error: {error}\n(CNNZOO_DEBUG=1 shows where)")


if __name__ == "__main__":
    main()
