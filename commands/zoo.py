"""`cnnzoo list`, `card`, `get` and `verify`: what one does with a zoo folder, without training."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from ..contract.checksums import SUMS
from ..contract.names import check_name
from ..contract.zoo_folder import FILE_NAME, SHIPPED
from . import card, get, listing, verify

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(prog="cnnzoo", description="Look at, fetch and check the models of a zoo folder.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (declare, run) in COMMANDS.items():
        words = (run.__doc__ or "").strip().split("\n")[0]
        sub = subparsers.add_parser(name, help=words, description=words)
        folder = _own_zoo() if name == "get" else _zoo()  # what is fetched never lands inside an installed package
        sub.add_argument("--zoo", type=Path, default=folder, help="the zoo folder (default: %(default)s)")
        declare(sub)
        sub.set_defaults(run=run)
    options = parser.parse_args()
    try:
        options.run(options)
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        if os.environ.get("CNNZOO_DEBUG"):
            raise
        where = f"{options.source}: " if isinstance(error, httpx.TransportError) else ""
        sys.exit(f"error: {where}{error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _own_zoo() -> Path:
    """CNNZOO_ZOO, else zoo/."""
    return Path(os.environ.get("CNNZOO_ZOO") or "zoo").expanduser()


def _zoo() -> Path:
    """CNNZOO_ZOO, else zoo/, else what cnnzoo ships."""
    return _own_zoo() if _own_zoo().is_dir() or os.environ.get("CNNZOO_ZOO") else SHIPPED


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="", help="only those whose dataset's name has this in it")
    parser.add_argument("--max_size", type=_from_to(0, math.inf), help="only files of at most so many megabytes")
    parser.add_argument("--min_accuracy", type=_from_to(0, 1), help="only those with at least this test accuracy (0-1)")


def _list(options: argparse.Namespace) -> None:
    """List the models."""
    if not options.zoo.is_dir():
        raise FileNotFoundError(f"there is no folder {options.zoo.absolute()}")
    found = listing.entries(options.zoo)
    console.print(listing.table(listing.fitting(found, options.dataset, options.max_size, options.min_accuracy)))
    if unread := len(listing.files(options.zoo)) - len(found):
        say(f"and {unread} without a readable card: cnnzoo verify says what is wrong")


def _from_to(least: float, most: float) -> Callable[[str], float]:
    """Reads a number for argparse."""

    def number(text: str) -> float:
        if not least <= (value := float(text)) <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to {most:g}, not {text}")
        return value

    return number


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="NAME, NAME@VERSION or a model.onnx file")
    parser.add_argument("--json", action="store_true", help="all of the card, as it is in the file")


def _card(options: argparse.Namespace) -> None:
    """Show all that a model says of itself: what it is for, how good it is and how it was made."""
    path = find(options.zoo, options.model)
    if options.json:
        print(card.read(path).to_json())
    else:
        console.print(card.page(card.read(path), path.stat().st_size))


def _add_get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="NAME or NAME@VERSION; the newest version by default")
    parser.add_argument("--from", dest="source", required=True, help="a service's address, a zoo folder on any web "
                        "server, or a zoo folder here")  # fmt: skip


def _get(options: argparse.Namespace) -> None:
    """Fetch a model into the zoo folder, if it is what it is said to be."""
    name, version = split(options.model)
    path = get.fetch(name, version, options.source, options.zoo, os.environ.get("CNNZOO_API_KEY"))
    say(f"{path} ({path.stat().st_size:,} bytes) is there and is what {options.source} says it is")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", help="NAME, NAME@VERSION or a file in a zoo folder; all by default")
    parser.add_argument("--metrics", action="store_true", help="measure again what the cards say of accuracy")
    parser.add_argument("--parity", action="store_true", help="compare again with torch, on the test set")
    parser.add_argument("--data_dir", type=Path, help="where the data is (default: CNNZOO_DATA, else data/)")


def _verify(options: argparse.Namespace) -> None:
    """Check every file: its SHA-256, the contract, and, with the data, its figures."""
    paths = [find(options.zoo, model).absolute() for model in options.models] or listing.files(options.zoo)
    if not paths:
        raise FileNotFoundError(f"there is no model in {options.zoo.absolute()}")
    for path in paths:
        if path.name != FILE_NAME or not path.parent.name.isdecimal():
            raise ValueError(
                f"{path} is in no zoo folder, whose {SUMS} says what it should be: fetch it with cnnzoo get"
            )
    bad = 0
    for path in paths:
        results = verify.verify(path, options.metrics, options.parity, options.data_dir)
        bad += any(result.error for result in results)
        console.print(verify.lines(path, results), soft_wrap=True)
    gone = [] if options.models else verify.gone(options.zoo)
    for place in gone:
        say(f"✗ {place} is listed and not there: restore it, or take its line out of SHA256SUMS")
    if bad or gone:
        sys.exit(f"{bad + len(gone)} of {len(paths) + len(gone)} files failed")
    say(f"All {len(paths)} files are what they should be")


def say(message: str) -> None:
    """Prints as it is: a path in brackets is no markup, and is not broken over lines."""
    console.print(message, soft_wrap=True, markup=False, highlight=False)


def split(model: str) -> tuple[str, int | None]:
    """NAME@VERSION as (name, version); None for no version. Raises ValueError."""
    name, at, version = model.partition("@")
    if at and not (version.isdecimal() and len(version) < 10):
        raise ValueError(f"{model!r}: write it as NAME@VERSION, such as digits_cnn@1")
    return check_name(name), int(version) if at else None


def find(zoo: Path, model: str) -> Path:
    """The file of NAME or NAME@VERSION in a zoo folder. Raises FileNotFoundError with the names there are."""
    if model.endswith(".onnx"):
        if not Path(model).is_file():
            raise FileNotFoundError(f"no such file: {model}")
        return Path(model)
    name, version = split(model)
    if not zoo.is_dir():
        raise FileNotFoundError(f"there is no folder {zoo.absolute()}")
    there = listing.files(zoo)
    for path in there:  # newest first
        if path.parent.parent.name == name and version in (None, int(path.parent.name)):
            return path
    names = ", ".join(f"{path.parent.parent.name}@{path.parent.name}" for path in there) or "none"
    raise FileNotFoundError(f"there is no {model} in {zoo.absolute()} (there are {names})")


# Of each, what declares its arguments and what runs it.
COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]] = {
    "list": (_add_list, _list),
    "card": (_add_card, _card),
    "get": (_add_get, _get),
    "verify": (_add_verify, _verify),
}
