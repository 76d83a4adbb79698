"""Command-line arguments of a plain function, from its signature and its docstring."""

import argparse
import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from . import UsageError


def call(function: Callable[..., None], name: str, arguments: list[str]) -> None:
    """Call the function of a subcommand with the arguments of a command line.

    A parameter without a default is positional, unless it is keyword-only. A list takes any number of arguments. The
    other parameters are options, and a bool is a flag. A trailing underscore is dropped: `from_` is --from. The
    docstring's Args are the help.

    Args:
        function: its parameters are str, int, float or Path (also `| None`), bool, or list of these.
        name: the subcommand.
        arguments: what follows it.

    Raises UsageError for a wrong or missing argument.
    """
    description, helps = _documentation(function)
    parser = _Parser(prog=f"cnnzoo {name}", description=description)
    types = get_type_hints(function)
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        action = _add(parser, parameter, types[parameter.name], helps.get(parameter.name, ""))
        names += action.option_strings
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        near = get_close_matches(unknown[0].partition("=")[0], names)
        parser.error(f"unknown argument {unknown[0]}" + (f": did you mean {' or '.join(near)}?" if near else ""))
    function(**vars(options))


class _Parser(argparse.ArgumentParser):
    """Parser that raises UsageError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.prog} --help lists the arguments")


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, kind: Any, text: str) -> argparse.Action:
    if isinstance(kind, UnionType):
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    required = parameter.default is inspect.Parameter.empty
    if required and get_origin(kind) is list:
        return parser.add_argument(parameter.name, nargs="*", type=get_args(kind)[0], help=text)
    if required and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        return parser.add_argument(parameter.name, type=kind, help=text)
    word = parameter.name.rstrip("_")
    if kind is bool:
        return parser.add_argument(f"--{word}", dest=parameter.name, action="store_true", help=text)
    default = None if required else parameter.default
    return parser.add_argument(
        f"--{word}",
        dest=parameter.name,
        metavar=word.upper(),
        type=kind,
        default=default,
        required=required,
        help=text,
    )


def _documentation(function: Callable[..., None]) -> tuple[str, dict[str, str]]:
    """Return a docstring's text before its sections, and the text of each argument."""
    text, _, rest = (inspect.getdoc(function) or "").replace("%", "%%").partition("\n\nArgs:\n")
    arguments = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", rest.split("\n\n")[0], re.M)
    return text, {name: " ".join(words.split()) for name, words in arguments}
