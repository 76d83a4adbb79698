"""The subcommands of `cnnzoo`, where models, data and the zoo meet."""

from rich.console import Console

console = Console()


class UsageError(ValueError):
    """A command line that cannot be read. The message says what was expected."""

    exit_code = 2


def say(message: str) -> None:
    """Print a message without wrapping and without markup, so that paths can be copied."""
    console.print(message, soft_wrap=True, markup=False, highlight=False)
