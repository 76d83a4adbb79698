"""Start the service."""

import sys
from pathlib import Path


def serve(
    zoo: Path | None = None, host: str | None = None, port: int | None = None, workers: int | None = None
) -> None:
    """Serve every model of a zoo folder over HTTP.

    Args:
        zoo: the zoo folder
        host: address to listen on
        port: port to listen on
        workers: number of processes
    """
    from .__main__ import main

    given = {"--zoo": zoo, "--host": host, "--port": port, "--workers": workers}
    sys.argv[1:] = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    main()
