"""Configs: where --config finds one, what --help shows of it, and how a run keeps it."""

import argparse
from pathlib import Path
from typing import Any

import lightning
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from ..datamodules import ImageDataModule
from ..models import ImageClassifier, pretrained
from . import runs

SHIPPED = Path(__file__).parent.parent / "configs"
# Of the Trainer's many flags, those that --help shows.
FLAGS = ("accelerator", "devices", "num_nodes", "strategy", "precision")
FIT_FLAGS = ("max_epochs", "max_time", "limit_train_batches", "limit_val_batches", "gradient_clip_val", *FLAGS)


def shipped_names() -> str:
    return ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def find_config(value: str) -> Path:
    """The file that --config names: a file, a run folder, or a shipped recipe by its name.

    Raises FileNotFoundError, with the names there are.
    """
    path = Path(value)
    for candidate in (path / runs.CONFIG if path.is_dir() else path, SHIPPED / f"{value}.yaml"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no config {value}: give a YAML file, a run folder, or one of {shipped_names()}")


class ConfigFile(ActionConfigFile):
    """--config, which takes what `find_config` takes."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        super().__call__(parser, cfg, str(find_config(str(values))), option_string)


class Parser(LightningArgumentParser):
    """Shows the flags that recipes use; the others of Lightning's Trainer and ModelCheckpoint work unseen."""

    shown: tuple[str, ...] = FLAGS

    def format_help(self, *args: Any) -> str:
        hidden = [action for action in self._actions if self._is_rare(action.dest)]
        texts = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help(*args)
        finally:
            for action, text in zip(hidden, texts, strict=True):
                action.help = text

    def _is_rare(self, flag: str) -> bool:
        group, _, name = flag.partition(".")
        return group == "checkpoint" or (group == "trainer" and bool(name) and name not in self.shown)


def build(config: dict[str, Any]) -> tuple[ImageClassifier, ImageDataModule]:
    """The network and the data of a recipe, as read from YAML, with its seed set and its `pretrained` weights in."""
    lightning.seed_everything(config["seed_everything"], verbose=False)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageClassifier, "model")
    parser.add_subclass_arguments(ImageDataModule, "data")
    made = parser.instantiate(parser.parse_object({key: config[key] for key in ("model", "data")}))
    if start := config.get("pretrained"):
        pretrained.init_from(made.model, start)
    return made.model, made.data


class SaveConfig(SaveConfigCallback):
    """config.yaml in the run folder, without the subcommand's own arguments: every subcommand reads it.

    Written when training starts: a resumption that fails before leaves the run's own.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **kwargs: Any) -> None:
        config = config.clone()
        config.pop("ckpt_path", None)
        super().__init__(parser, config, **kwargs)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pass

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().setup(trainer, pl_module, "fit")
