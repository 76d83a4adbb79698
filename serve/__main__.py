"""`python -m cnnzoo.serve`: look at the zoo, say what is in it, and serve it through BentoML."""

import argparse
import os
import socket
import sys
from pathlib import Path

from .zoo import Zoo, zoo_dir

EMPTY = """\
There is no model to serve in {folder}.

Make one:    cnnzoo fit --config digits
             cnnzoo export --config digits
Or point CNNZOO_ZOO at a folder <model>/<version>/model.onnx of exported files."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cnnzoo.serve", description="Serve every model of a zoo folder over HTTP."
    )
    parser.add_argument(
        "--zoo",
        type=Path,
        default=zoo_dir(),
        help="folder of <model>/<version>/model.onnx (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 is every interface (default: %(default)s)",
    )
    parser.add_argument("--port", type=_port, default=3000, help="port to listen on (default: %(default)s)")
    args = parser.parse_args()

    _check_free(args.host, args.port)
    zoo = Zoo(args.zoo.absolute())
    if not zoo.models:
        sys.exit(EMPTY.format(folder=zoo.folder))
    for model in zoo.models:
        card = model.card
        accuracy = f"{card.metrics['accuracy']:.2%} on {card.dataset.get('name')}" if "accuracy" in card.metrics else ""
        print(f"  {card.name} {card.version}  {accuracy}  ({model.session.provider})")
    print(f"Serving {len(zoo.models)} of these at http://{args.host}:{args.port}  (Ctrl-C stops)", flush=True)

    os.environ["CNNZOO_ZOO"] = str(zoo.folder)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    address = ["--host", args.host, "--port", str(args.port)]
    os.execv(
        sys.executable,
        [sys.executable, "-m", "bentoml", "serve", "cnnzoo.serve.service:ZooService", *address],
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port: give a number from 1 to 65535")
    return int(text)


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port (make serve PORT=...)")


if __name__ == "__main__":
    main()
