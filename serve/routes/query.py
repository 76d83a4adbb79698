"""Query parameters of a request: each is known, given once, and of the right form."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request

from ...contract.names import did_you_mean
from ..errors import ApiError

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


class Parameter(NamedTuple):
    """A query parameter: how its text is read, and its default.

    `read` raises ValueError, which says what was expected.
    """

    read: Callable[[str], Any]
    default: Any


def read_query(request: Request, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the value of each parameter.

    Raises ApiError 400 for an unknown or a repeated parameter, or a wrong value.
    """
    values = {name: parameter.default for name, parameter in parameters.items()}
    if not request.scope["query_string"]:
        return values
    given = request.query_params.multi_items()
    for name, text in given:
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            known = f"there are {', '.join(parameters)}" if parameters else "this path has none"
            raise ApiError(400, "parameter", f"there is no query parameter {name[:32]!r}{hint} ({known})")
        try:
            values[name] = parameters[name].read(text)
        except ValueError as error:
            raise ApiError(400, name, f"{name} is {text[:32]!r}: {error}") from None
    if len(given) > len(dict(given)):
        raise ApiError(400, "parameter", "a query parameter is given twice: give each once")
    return values


def whole_number(text: str) -> int:
    """Read a whole number from 1 to 99999."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and int(text) > 0):
        raise ValueError("give a whole number from 1 to 99999")
    return int(text)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    if not _NUMBER.fullmatch(text) or not 0 <= float(text) <= 1:
        raise ValueError("give a number from 0 to 1")
    return float(text)


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a reader that accepts these texts."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"give {' or '.join(choices)}")
        return text

    return read
