"""`python -m cnnzoo.serve`: look at the zoo, say what is in it, and serve it through BentoML."""

import argparse
import os
import socket
import sys
from pathlib import Path

from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import FILE_NAME
from .settings import ServeSettings, settings

EMPTY = """\
There is no model to serve in {folder}.

Make one:    cnnzoo fit --config digits
             cnnzoo export --config digits
Or point CNNZOO_ZOO at a folder <model>/<version>/model.onnx of exported files."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cnnzoo.serve",
        description="Serve every model of a zoo folder over HTTP.",
        epilog="These and more can be set by environment variables, CNNZOO_ZOO and so on: docs/service.md lists them.",
    )
    for name in ("zoo", "host", "port", "workers"):
        field = ServeSettings.model_fields[name]
        parser.add_argument(f"--{name}", help=f"{field.description} (default: {field.default})")
    for name, value in vars(parser.parse_args()).items():
        if value is not None:
            os.environ[f"CNNZOO_{name.upper()}"] = value
    options = settings()
    os.environ["CNNZOO_ZOO"] = str(options.zoo)

    _check_free(options.host, options.port)
    count = _list_models(options.zoo)
    if not count:
        sys.exit(EMPTY.format(folder=options.zoo))
    workers = f", {options.workers} workers" if options.workers > 1 else ""
    print(f"Serving {count} of these at http://{options.host}:{options.port}{workers}  (Ctrl-C stops)", flush=True)

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    address = ["--host", options.host, "--port", str(options.port)]
    os.execv(
        sys.executable,
        [sys.executable, "-m", "bentoml", "serve", "cnnzoo.serve.service:ZooService", *address],
    )


def _list_models(folder: Path) -> int:
    """Prints what is in a zoo folder, by its cards alone; the number of models."""
    count = 0
    for path in sorted(folder.glob(f"*/*/{FILE_NAME}")):
        try:
            card = read_card(path)
        except (ContractError, OSError) as error:
            print(f"  {path.relative_to(folder)} cannot be served: {error}")
            continue
        accuracy = card.metrics.get("accuracy")
        tested = "" if accuracy is None else f"{accuracy:.2%} on {card.dataset_title}"
        print(f"  {card.name} {card.version}  {tested}")
        count += 1
    return count


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port (make serve PORT=...)")


if __name__ == "__main__":
    main()
