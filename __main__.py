"""The `cnnzoo` command, also `python -m cnnzoo`: one table of subcommands, and one place for errors."""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import TextIO

from cnnzoo.commands import Command, UsageError

COMMANDS = {
    "fit": Command("Train a network into a new run folder, or resume a run."),
    "validate": Command("Measure a checkpoint on the validation split."),
    "test": Command("Measure a checkpoint on the test set, and write metrics.json and plots."),
    "predict": Command(
        "Classify image files with a model of the zoo, or a checkpoint.", "cnnzoo.commands.predict", "predict_files"
    ),
    "export": Command("Export a checkpoint to the zoo as a self-describing ONNX file."),
    "sweep": Command("Train over a grid of settings, or with several seeds, and compare the results."),
    "summary": Command("Show a network layer by layer."),
    "preview": Command("Draw a sheet of labeled training images."),
    "list": Command("List the models of a zoo folder.", "cnnzoo.commands.cards", "list_models"),
    "card": Command("Show a model card.", "cnnzoo.commands.cards", "show_card"),
    "get": Command("Download a model and verify it.", "cnnzoo.commands.get", "get_model"),
    "inspect": Command("Draw the maps of every layer for an image.", "cnnzoo.commands.inspect", "inspect_model"),
    "explain": Command(
        "Draw which parts of an image the answer depends on.", "cnnzoo.commands.inspect", "explain_answer"
    ),
    "verify": Command("Check models: SHA-256, contract, and metrics.", "cnnzoo.commands.verify", "verify_models"),
    "pack": Command("Pack a model for Hugging Face, MLflow or BentoML.", "cnnzoo.commands.pack", "pack_model"),
    "serve": Command("Serve every model of a zoo folder over HTTP.", "cnnzoo.serve.start", "serve"),
}

CHECKPOINT = ("-c", "--config", "--model", "--ckpt_path")  # options with which predict takes a checkpoint

HELP = """\
usage: cnnzoo COMMAND ...

Train small image classifiers, export them to self-describing ONNX files, and serve them over HTTP.

{commands}

cnnzoo COMMAND --help lists the arguments of a command.
CNNZOO_DEBUG=1 shows the traceback of an error."""


def main() -> None:
    """Run the subcommand that sys.argv names. Exit with 1 after an error, 2 for wrong arguments, 130 for Ctrl-C."""
    debug = bool(os.environ.get("CNNZOO_DEBUG"))
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        from cnnzoo.commands.completion import complete

        complete(COMMANDS, find_command)
    try:
        _run(sys.argv[1:])
    except BrokenPipeError as error:
        if not _is_closed(sys.stdout):  # another pipe, such as a logger's
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        message = _message(error)
        if debug or not message:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def _is_closed(stream: TextIO) -> bool:
    """Return whether the reader of a stream, such as `head`, has closed the pipe."""
    try:
        stream.write("\n")
        stream.flush()
    except BrokenPipeError:
        return True
    return False


def _run(arguments: list[str]) -> None:
    name = next(iter(arguments), "")
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:{width}}  {c.summary}" for name, c in COMMANDS.items())))
        return
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS)
        asked = f"there is no command {name}." if name else "expected a command."
        nearest = f"Did you mean {' or '.join(near)}?\n" if near else ""
        raise ValueError(f"{asked} {nearest}There are {', '.join(COMMANDS)}; see cnnzoo --help")
    command = find_command(name, arguments)
    module = import_module(command.module)
    if command.function:
        _call(getattr(module, command.function), name, arguments[1:])
    else:
        module.run(name, arguments[1:])


def find_command(name: str, arguments: Iterable[str]) -> Command:
    """Return a subcommand. predict has two: of a model of the zoo, and of a checkpoint."""
    command = COMMANDS[name]
    takes_checkpoint = any(word.partition("=")[0] in CHECKPOINT for word in arguments)
    return Command(command.summary) if name == "predict" and takes_checkpoint else command


def _call(function: Callable[..., None], name: str, arguments: list[str]) -> None:
    """Call the function of a subcommand. Its signature and its docstring make the command line and the help."""
    from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

    options = Parameter(name_transform=lambda word: word.rstrip("_"), negative=(), show_default=False)
    app = App(name=f"cnnzoo {name}", help_format="plaintext", version_flags=(), default_parameter=options)
    app["--help"].group = Group("Parameters")
    app.default(function)
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        unused = error.unused_tokens if isinstance(error, UnusedCliTokensError) else None
        message = f"there are more arguments than it takes: {' '.join(unused)}" if unused else str(error)
        raise UsageError(f"{message}\ncnnzoo {name} --help lists the arguments") from None


def _message(error: Exception) -> str:
    """Return the message for a user, or an empty string for an error that only a traceback explains."""
    import httpx  # here, since `cnnzoo --help` needs none of it

    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("cnnzoo"):
        needs = f"`cnnzoo {sys.argv[1]}` needs {error.name}, which is not installed"
        return f"{needs}: run make install in a clone of the repository"
    if isinstance(error, httpx.TransportError):
        hint = ": is the service running there?" if isinstance(error, httpx.ConnectError) else ""
        return f"{error.request.url}: {error}{hint}"
    if type(error) is ImportError and "socks" in str(error):  # of httpx, for a proxy in the environment
        return str(error)
    return str(error) if isinstance(error, (ValueError, OSError, httpx.HTTPError, httpx.InvalidURL)) else ""


if __name__ == "__main__":
    main()
