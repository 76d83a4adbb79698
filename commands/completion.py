"""Completion of commands, options, models and recipes in a shell, by argcomplete."""

import argparse
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Literal, NoReturn, get_args, get_origin

import argcomplete
from argcomplete.completers import FilesCompleter

from ..contract.zoo_folder import search_path
from . import RECIPES, Command


def complete(names: Collection[str], find: Callable[[str, Sequence[str]], Command]) -> NoReturn:
    """Answer the shell, and end the process.

    Args:
        names: of the commands.
        find: returns a command by its name and the words behind it.
    """
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    _, prefix, _, words, _ = argcomplete.split_line(line, point)
    skipped = int(os.environ["_ARGCOMPLETE"])  # words before the first argument, such as `cnnzoo` or `python -m cnnzoo`
    arguments = words[skipped:]
    parser = argparse.ArgumentParser(add_help=False)
    if not arguments:
        parser.add_argument("command", choices=sorted(names))
    else:
        os.environ["_ARGCOMPLETE"] = str(skipped + 1)  # the command is a word before the first argument, too
        command = find(arguments[0], [*arguments[1:], prefix]) if arguments[0] in names else None
        if command and command.function:
            _add_signature(parser, getattr(import_module(command.module), command.function))
        elif command and prefix.startswith("-"):
            _complete_options_of_training(arguments[0])
        else:
            _add(parser, "--config", _recipes, "-c")
            parser.add_argument("files", nargs="*")
    argcomplete.autocomplete(parser)
    os._exit(1)


def _complete_options_of_training(name: str) -> None:
    """Answer with the hundreds of options of fit and its like. Only this waits for torch."""
    from ..commands.cli import ZooCLI

    train = import_module("cnnzoo.train")
    ZooCLI(train.LIGHTNING_COMMANDS[name], [])  # jsonargparse calls argcomplete


def _add_signature(parser: argparse.ArgumentParser, function: Callable[..., None]) -> None:
    """Add the parameters of a function: keyword-only ones are options, the others positions."""
    for name, parameter in inspect.signature(function).parameters.items():
        flag = f"--{name.rstrip('_')}"
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            many = (
                parameter.kind is inspect.Parameter.VAR_POSITIONAL or parameter.default is not inspect.Parameter.empty
            )
            _add(parser, name, _models if "model" in name else FilesCompleter(), nargs="*" if many else None)
        elif parameter.default is False:
            parser.add_argument(flag, action="store_true")
        elif get_origin(parameter.annotation) is Literal:
            parser.add_argument(flag, choices=get_args(parameter.annotation))
        else:
            parser.add_argument(flag)


def _add(
    parser: argparse.ArgumentParser, name: str, completer: Callable[..., object], *short: str, nargs: str | None = None
) -> None:
    parser.add_argument(*short, name, nargs=nargs).completer = completer  # type: ignore[attr-defined]  # argcomplete's


def _models(prefix: str, **_: object) -> list[str]:
    """Return the names of the models that commands find, and ONNX files."""
    names = dict.fromkeys(model.name for folder in search_path() for model in folder.ids())
    return [*names, *FilesCompleter(["onnx"])(prefix)]


def _recipes(prefix: str, **_: object) -> list[str]:
    """Return the names of the shipped recipes, and YAML files."""
    return [*(path.stem for path in RECIPES.glob("*.yaml")), *FilesCompleter(["yaml", "yml"])(prefix)]
