"""Where the time of a request goes: its parts, for the header Server-Timing and for traces."""

from contextvars import ContextVar
from typing import NamedTuple


class Part(NamedTuple):
    """A part of a request, such as "decode": its start and end, in seconds of time.perf_counter."""

    name: str
    start: float
    end: float


_parts: ContextVar[list[Part]] = ContextVar("parts of the request")


def begin() -> list[Part]:
    """Return the list to which `add` appends in this request."""
    parts: list[Part] = []
    _parts.set(parts)
    return parts


def add(name: str, start: float, end: float) -> None:
    """Add a part to the request, if one has begun."""
    if (parts := _parts.get(None)) is not None:
        parts.append(Part(name, start, end))


def server_timing(parts: list[Part], total: float) -> bytes:
    """Return the header's value (www.w3.org/TR/server-timing): milliseconds of each part, and in `total` seconds."""
    durations = [(part.name, part.end - part.start) for part in parts]
    return ", ".join([f"{name};dur={1000 * seconds:.2f}" for name, seconds in (*durations, ("total", total))]).encode()
