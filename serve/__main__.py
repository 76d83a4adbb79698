"""`python -m cnnzoo.serve`: start the service."""

import argparse
import sys

from .settings import ServeSettings
from .start import serve


def main() -> None:
    """Read the command line and start the service."""
    parser = argparse.ArgumentParser(
        prog="python -m cnnzoo.serve",
        description="Serve every model of a zoo folder over HTTP.",
        epilog="Environment variables set these and more: docs/service.md lists them.",
    )
    for name in ("zoo", "host", "port", "workers"):
        field = ServeSettings.model_fields[name]
        parser.add_argument(f"--{name}", help=f"{field.description} (default: {field.default})")
    try:
        serve(**vars(parser.parse_args()))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
