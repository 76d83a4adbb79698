"""A limit on the bytes of one kind that a worker holds for its clients."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ApiError


class Held:
    """Bytes of one kind that are held now.

    Args:
        limit: bytes, at most.
        what: the kind, for the message of a refusal.
    """

    def __init__(self, limit: int, what: str) -> None:
        self.limit = limit
        self.what = what
        self.bytes = 0

    @contextmanager
    def add(self, size: int) -> Iterator[None]:
        """Hold so many bytes more. Raises ApiError 503 if they do not fit; any size fits if none are held."""
        if self.bytes and self.bytes + size > self.limit:
            raise ApiError(503, "overloaded", f"the service holds as many {self.what} as it can: try again in a second")
        self.bytes += size
        try:
            yield
        finally:
            self.bytes -= size
