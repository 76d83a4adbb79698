"""Collect the times of a request's parts, for the header Server-Timing and for traces."""

from contextvars import ContextVar
from typing import NamedTuple


class Part(NamedTuple):
    """A part of a request, such as "decode": its start and end, in seconds of time.perf_counter."""

    name: str
    start: float
    end: float


_parts: ContextVar[list[Part]] = ContextVar("parts of the request")


def begin() -> None:
    """Forget the parts of the task's last request."""
    _parts.set([])


def parts() -> list[Part]:
    """Return the parts of this request so far."""
    return _parts.get([])


def add(name: str, start: float, end: float) -> None:
    """Add a part to this request."""
    parts().append(Part(name, start, end))


def server_timing(total: float) -> bytes:
    """Return the header's value (www.w3.org/TR/server-timing): milliseconds of each part, and of `total` seconds."""
    durations: dict[str, float] = {}
    for part in parts():  # an explanation has many of a name
        durations[part.name] = durations.get(part.name, 0.0) + part.end - part.start
    durations["total"] = total
    return ", ".join(f"{name};dur={1000 * seconds:.2f}" for name, seconds in durations.items()).encode()
