"""The subcommands of `cnnzoo`, where models, data and the zoo meet."""

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

RECIPES = Path(__file__).parent.parent / "configs"  # the shipped ones
console = Console()


class Command(NamedTuple):
    """A subcommand. Its module is imported when it is called, so that only what needs torch waits for torch."""

    summary: str
    module: str = "cnnzoo.train"
    function: str = ""  # by default the module's run(name, arguments)


class UsageError(ValueError):
    """A command line that cannot be read. The message says what was expected."""

    exit_code = 2


def say(message: str) -> None:
    """Print a message without wrapping and without markup, so that paths can be copied."""
    console.print(message, soft_wrap=True, markup=False, highlight=False, emoji=False)
