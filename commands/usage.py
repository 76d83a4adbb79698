"""Short help, and short messages for mistyped options and wrong values, in place of jsonargparse's long ones."""

import difflib
import re
from argparse import Action
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ..datamodules import DATASETS
from ..models import CLASSES

# The flags of the Trainer that --help shows. Recipes use them; all others work too.
FLAGS = ("accelerator", "devices", "num_nodes", "strategy")
LIMITS = ("max_epochs", "max_time", "limit_train_batches", "limit_val_batches")
FIT_FLAGS = (*FLAGS, *LIMITS, "precision", "gradient_clip_val")


class ShortHelp(DefaultHelpFormatter):
    """Help that leaves out most options of Lightning's Trainer and ModelCheckpoint."""

    flags: tuple[str, ...] = FLAGS

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        super().add_usage(usage, [action for action in actions if self.is_shown(action)], *args, **kwargs)

    def add_argument(self, action: Action) -> None:
        if self.is_shown(action):
            super().add_argument(action)

    def is_shown(self, action: Action) -> bool:
        group, _, name = action.dest.partition(".")
        return group != "checkpoint" and (group != "trainer" or not name or name in self.flags)


class FitHelp(ShortHelp):
    """Help of a command that trains."""

    flags = FIT_FLAGS


def explain(message: str, parser: ArgumentParser) -> str:
    """Return three lines for an error of the parser, or its message if it is of an unknown form.

    The lines are the mistake; the nearest names, or what is expected; and how to list the options.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    classes = re.findall(r"given class_path '([^']+)'", message)
    listing = f"{parser.prog} --help"
    if classes:
        listing = f"{parser.prog} --{keys[0]}.help {classes[0].rpartition('.')[2]}"
    if unknown := _unknown_option(message):
        option = ".".join([*keys, unknown])
        names = _options_of(classes[-1], keys) if classes else list(parser.get_defaults().keys())
        groups = {name.partition(".")[0] for name in names}
        near = difflib.get_close_matches(option, names, n=3)
        near = near or difflib.get_close_matches(option.partition(".")[0], groups, n=3) or sorted(groups)
        if option.partition(".")[0] in ("trainer", "checkpoint"):  # --help shows few of them
            listing = f"{parser.prog} --print_config"
        nearest = ", ".join(f"--{name}" for name in near)
        return f"there is no option --{option}\nNearest: {nearest}\nList all options: {listing}"
    if message.startswith("the following arguments are required") and not keys:
        return f"{message}\nGive a recipe, such as --config digits\nList all options: {listing}"
    given = re.findall(r"(?:Got value|Given value): (?!NestedArg)(.*)", message)
    if not keys or not given:
        return message
    expected = _expected(message)
    if keys == ["model"] and not classes:
        expected = f"{', '.join(CLASSES)}, or the import path of a class"
    if keys == ["data"] and not classes:
        expected = f"{', '.join(DATASETS)}, or the import path of a class"
    return f"--{'.'.join(keys)} cannot be {given[0]!r}\nExpected: {expected}\nList all options: {listing}"


def _unknown_option(message: str) -> str:
    """Return the option that a message says is not accepted, or an empty string."""
    if found := re.search(r"unrecognized arguments: --([^\s=]+)", message):
        return found[1]
    if found := re.search(r"Group '(\S+)' does not accept option '(\S+)'", message):
        return f"{found[1]}.{found[2]}"
    found = re.search(r"Option '(\S+)' is not accepted", message)
    return found[1] if found else ""


def _options_of(class_path: str, keys: list[str]) -> list[str]:
    """Return the options of a class's arguments, behind the keys that lead to them."""
    module, _, name = class_path.rpartition(".")
    arguments = ArgumentParser().add_class_arguments(getattr(import_module(module), name), fail_untyped=False)
    return [".".join([*keys, argument]) for argument in arguments]


def _expected(message: str) -> str:
    """Return the expected types or choices of a message, without those of the classes around the value."""
    types = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    types += ["int > 0"] if "Not of type PositiveInt" in message else []
    choices = re.findall(r"'([^']+)'", next((one for one in types if "Literal[" in one), ""))
    named = [re.sub(r"<class '([^']+)'>", r"\1", one).removeprefix("typing.") for one in types]
    kinds = list(dict.fromkeys(name for name in named if name != "NoneType"))
    return ("one of " + ", ".join(choices)) if choices else " or ".join(kinds)
