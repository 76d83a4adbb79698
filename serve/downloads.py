"""Resumable, verified downloads. The caller makes the requests: this module does no network I/O."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

from ..contract.checksums import sha256_of

MAX_BYTES = 2**31 - 1  # of a file: ONNX's own limit
NOT_SATISFIABLE = 416  # status of a range that starts at the end of the file: nothing is missing


class DownloadError(ValueError):
    """A download whose content is not what the server announced."""


class Download:
    """One attempt to download a file, as a context manager that closes what it opens.

        with Download(path) as download, http.stream("GET", url, headers=download.headers()) as response:
            if download.begin(response.status_code, response.headers):
                for chunk in response.iter_bytes():
                    download.write(chunk)
            download.finish()

    Received bytes are kept in `<path>.part`, which the next attempt continues. `path` itself appears by an atomic
    rename, after the SHA-256 was verified.

    Args:
        path: where the file is to be.
        sha256: in hex. None: the server's ETag is the SHA-256, as in this project's service. It is kept beside the
            part, in `<path>.part.etag`, so that a part of one file is never continued with bytes of another.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path = path
        self._sha256 = sha256
        self._part = path.with_name(f"{path.name}.part")
        self._etag = path.with_name(f"{path.name}.part.etag")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    @property
    def received(self) -> int:
        """Number of bytes received so far, in this attempt and in earlier ones."""
        if self._file:
            return self._file.tell()
        return self._part.stat().st_size if self._part.is_file() else 0

    def headers(self) -> dict[str, str]:
        """Return the request's headers: a range if there is a part to continue."""
        wanted = {"Range": f"bytes={self.received}-"}
        if self.received and self._sha256:
            return wanted
        if self.received and self._etag.is_file():
            return {**wanted, "If-Range": self._etag.read_text()}
        return {}

    def begin(self, status: int, headers: Mapping[str, str]) -> bool:
        """Prepare for the body of a response. Return False if the part is complete, so that no body is needed.

        Args:
            status: 200, 206, or 416 as the answer to a range.
            headers: of the response, with lower-case names.
        """
        if status == NOT_SATISFIABLE:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._sha256 is None:
            if "etag" not in headers:
                raise DownloadError(f"the server sent no ETag for {self.path.name}: expected its SHA-256")
            self._etag.write_text(headers["etag"])
        self._file = self._part.open("ab" if status == 206 else "wb")
        return True

    def write(self, chunk: bytes) -> None:
        """Append a chunk of the body. Raises DownloadError, and removes the part, if the file exceeds MAX_BYTES."""
        assert self._file, "call begin() first"
        if self.received + len(chunk) > MAX_BYTES:
            self._remove()
            raise DownloadError(f"{self.path.name} has more than {MAX_BYTES:,} bytes: nothing was kept")
        self._file.write(chunk)

    def finish(self) -> Path:
        """Verify the SHA-256, rename the part to `path`, and return it.

        Raises DownloadError, and removes the part, if the content is wrong.
        """
        if self._file:
            self._file.close()
        expected = self._sha256 or self._etag.read_text().strip('"')
        found = sha256_of(self._part)
        if found != expected:
            self._remove()
            raise DownloadError(
                f"{self.path.name} has SHA-256 {found}, expected {expected} as announced: nothing was kept, try again"
            )
        os.replace(self._part, self.path)
        self._etag.unlink(missing_ok=True)
        return self.path

    def _remove(self) -> None:
        if self._file:
            self._file.close()
        self._part.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)
