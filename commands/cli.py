"""The command line of the commands that train or use a checkpoint: Lightning's CLI without its subcommands."""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import getdoc
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from jsonargparse import ActionConfigFile, ArgumentError
from jsonargparse.typing import PositiveInt
from lightning import Callback
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from ..contract.names import check_name
from ..datamodules import ImageDataModule
from ..models import ImageClassifier
from ..models.compatibility import check_checkpoint
from . import RECIPES, runs
from .build import fill_from_data, make_data
from .checkpoints import BEST, Best, check_best
from .provenance import cores
from .usage import FitHelp, ShortHelp, explain

PROCESSES_A_CORE = 4  # on the CPU, at most
USE_CHECKPOINT = ("validate", "test", "predict", "export")
RESUME = "a checkpoint to resume from; last resumes the newest run with these settings, or starts one"
CHECKPOINT = (
    "a .ckpt file, best or last. Best and last are of the run folder that --config names, else of the newest run with "
    "these settings"
)


def find_config(value: str) -> Path:
    """Return the file that --config names: a file, a run folder's config.yaml, or a shipped recipe.

    Raises FileNotFoundError with the names of the recipes.
    """
    path = Path(value)
    for candidate in (path / runs.CONFIG if path.is_dir() else path, RECIPES / f"{value}.yaml"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no config {value}: give a YAML file, a run folder, or one of {shipped_names()}")


def shipped_names() -> str:
    """Return the names of the shipped recipes."""
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))


class ConfigFile(ActionConfigFile):
    """Action of --config, which takes what `find_config` takes."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        path = find_config(str(values))
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not a YAML file: give --config a recipe or a run folder") from None
        super().__call__(parser, cfg, str(path), option_string)  # type: ignore[no-untyped-call]


class ZooCLI(LightningCLI):
    """Parsed arguments of a command, with the network, the data, and the run that they choose.

    Args:
        command: the function of the command. Its parameters after the first are options of the command.
        arguments: what follows the command's name.

    Raises ValueError for a wrong argument, FileNotFoundError for a missing config or checkpoint.
    """

    run: Path | None = None  # the run folder of the checkpoint, if it is in one
    run_is_given = False  # by --config
    checkpoint: Path | None = None

    def __init__(self, command: Callable[..., None], arguments: list[str]) -> None:
        self.command = command
        self.names: list[str] = []  # of the command's own options
        trains = command.__name__ in ("fit", "sweep")
        super().__init__(
            ImageClassifier,
            ImageDataModule,
            save_config_callback=None,
            trainer_defaults={"num_sanity_val_steps": 0, "enable_model_summary": False},
            seed_everything_default=0,
            parser_kwargs={
                "prog": f"cnnzoo {command.__name__}",
                "description": (getdoc(command) or "").partition("\n\nArgs:")[0],
                "formatter_class": FitHelp if trains else ShortHelp,
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=arguments,
            run=False,
        )

    @property
    def settings(self) -> runs.Settings:
        """The resolved configuration."""
        settings: runs.Settings = yaml.safe_load(self.config_yaml(skip=()))
        return settings

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for the command's parameters after the first."""
        return {name: self.config_init[name] for name in self.names}

    def config_yaml(self, skip: Iterable[str]) -> str:
        """Return the resolved configuration as YAML, without the options `skip`."""
        config = self.config.clone()
        for name in ("config", *skip):
            config.pop(name, None)
        return str(self.parser.dump(config, skip_link_targets=False, skip_unset=False, skip_validation=True))

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = LightningArgumentParser(**kwargs)
        text = f"a YAML file, a run folder, or a shipped recipe: {shipped_names()}"
        parser.add_argument("-c", "--config", action=ConfigFile, help=text)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="model", help="name of the model in run folders and in the zoo")
        text = "license of the exported weights, such as Apache-2.0; none is stated by default"
        parser.add_argument("--license", default="", help=text)
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
        text = "initial weights: NAME or NAME@VERSION of the zoo, or an exported file"
        parser.add_argument("--pretrained", type=str | None, help=text)
        text = "save a checkpoint every so many steps within an epoch, too"
        parser.add_argument("--checkpoint_every", type=PositiveInt | None, help=text)
        parser.add_class_arguments(Best, "checkpoint", instantiate=False)
        parser.set_defaults({f"checkpoint.{key}": value for key, value in BEST.items()})
        if self.command.__name__ == "fit":
            parser.add_argument("--ckpt_path", type=str | None, help=RESUME)
        elif self.command.__name__ in USE_CHECKPOINT:
            parser.add_argument("--ckpt_path", type=str, default="best", help=CHECKPOINT)
        skip: set[str | int] = {"cli", "images"}
        self.names = parser.add_function_arguments(self.command, skip=skip)
        if self.command.__name__ == "predict":  # jsonargparse has no list of positional arguments in a signature
            parser.add_argument("images", nargs="+", type=Path, help="PNG or JPEG files, or folders of them")
            self.names.append("images")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]
        except ArgumentError as error:
            raise ValueError(explain(str(error), parser)) from error
        seed = self.config.get("seed_everything")
        if seed is not None and not 0 <= seed < 2**32:
            raise ValueError(f"--seed_everything is {seed}: give a number from 0 to {2**32 - 1}")

    def before_instantiate_classes(self) -> None:
        """Find the run and the checkpoint, and check that they belong to the settings."""
        check_name(self.config.name)
        self.config.runs = self.config.runs.expanduser()
        if self.command.__name__ == "fit":
            check_best(self.config.checkpoint.as_dict())
        with _errors_of_classes():
            fill_from_data(self.config.model, make_data(self.settings["data"]))
        files = [Path(str(file)) for file in self.config.get("config") or []]
        self.run = next((run for file in reversed(files) if (run := runs.run_of(file))), None)
        wanted, resumes = self.config.get("ckpt_path"), self.command.__name__ == "fit"
        if wanted is None:
            if self.command.__name__ in USE_CHECKPOINT:
                raise ValueError("--ckpt_path is null: give a .ckpt file, best or last")
            return
        try:
            found = runs.find_checkpoint(wanted, self.run, self.config.runs, self.config.name, self.settings)
        except runs.NoCheckpoint:
            if resumes and wanted == "last":  # stopped before its first checkpoint, or never started
                return
            raise
        runs.check_checkpoint(found)
        given, self.checkpoint, self.run = self.run, found, runs.run_of(found)
        self.run_is_given = given == self.run
        if self.run and resumes:
            runs.check_resumable(self.run, self.settings, found)
        elif self.run and self.command.__name__ != "predict":  # predict uses no image of the dataset
            runs.check_same_split(self.run, self.settings)
        rank_zero_only(print)(f"Checkpoint  {os.path.relpath(found)}")

    def instantiate_classes(self) -> None:
        """Create the network and the data. A command that needs a trainer calls `new_trainer`."""
        with _errors_of_classes():
            self.config_init = self.parser.instantiate(self.config)
        self.model, self.datamodule = self.config_init.model, self.config_init.data
        given = self.config_init.trainer.callbacks or []
        self.callbacks: list[Callback] = given if isinstance(given, list) else [given]  # the user's own
        if self.checkpoint:
            runs.check_classes(self.checkpoint, self.datamodule.classes)
            if self.run and not self.run_is_given:
                check_checkpoint(self.model, runs.read_checkpoint(self.checkpoint))
                runs.check_same_settings(self.run, self.settings)

    def new_trainer(self, callbacks: list[Callback], **options: Any) -> lightning.Trainer:
        """Return a Trainer of the configuration, with further callbacks and with `options` in place of its own."""
        _check_devices(self.config_init.trainer)
        return self.instantiate_trainer(callbacks=[*self.callbacks, *callbacks], **options)

    def new_evaluator(self, *callbacks: Callback, **options: Any) -> lightning.Trainer:
        """Return a Trainer in full precision, in which networks are exported and served."""
        self.callbacks = [one for one in self.callbacks if not isinstance(one, Checkpoint)]
        options |= {"logger": False, "enable_checkpointing": False, "precision": "32-true"}
        return self.new_trainer([*callbacks], **options)

    def run_loop(self, trainer: lightning.Trainer, loop: str, data: Any) -> Any:
        """Fit, validate, test or predict. Raises KeyboardInterrupt after Ctrl-C or SIGTERM, where Lightning exits."""
        try:
            return getattr(trainer, loop)(self.model, data, ckpt_path=self.checkpoint, weights_only=True)
        except SystemExit:
            if trainer.interrupted or trainer.received_sigterm:
                raise KeyboardInterrupt from None
            raise


@contextmanager
def _errors_of_classes() -> Iterator[None]:
    """Raise the error of a class, which jsonargparse wraps."""
    try:
        yield
    except ValueError as error:
        cause: BaseException = error
        while cause.__cause__ and str(cause).startswith("Does not validate"):
            cause = cause.__cause__
        raise cause from None


def _check_devices(trainer: Any) -> None:
    """Raise ValueError for far more processes on the CPU than it has cores, which would take all of its memory."""
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.accelerator.is_available())
    most = PROCESSES_A_CORE * cores()
    if on_cpu and str(trainer.devices).isdecimal() and int(trainer.devices) > most:
        raise ValueError(
            f"--trainer.devices is {trainer.devices}, and this CPU has {cores()} cores: give one a core, {most} at most"
        )


def quiet_lightning() -> None:
    """Silence Lightning's hints. The loaders have no workers on purpose: the images are in one tensor in memory."""
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")
    warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")  # data.val_fraction is 0
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")  # of a resumed run
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    hints = ("Tip:", "available: False", "used: False", "Loading `train_dataloader`")
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(lambda record: not any(hint in record.getMessage() for hint in hints))
