"""Start the service: list the models in the zoo folder, and hand over to BentoML."""

import errno
import math
import os
import socket
import sys
from pathlib import Path

from ..contract.image_files import readable
from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import ZooFolder
from .settings import address_of, read_settings, unknown_settings

EMPTY = """\
there is no model to serve in {folder}.

Train one:   cnnzoo fit --config digits
             cnnzoo export --config digits
Or set CNNZOO_ZOO to a folder <model>/<version>/model.onnx of exported files."""

ADVICE = {
    errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is this machine, 0.0.0.0 all its addresses",
    errno.EACCES: "ports below 1024 need more rights; choose a higher one",
}


def serve(
    *, zoo: Path | None = None, host: str | None = None, port: int | None = None, workers: int | None = None
) -> None:
    """Serve every model of a zoo folder over HTTP.

    Environment variables set these and more: docs/service.md lists them.

    Args:
        zoo: folder of <model>/<version>/model.onnx (default: CNNZOO_ZOO, else zoo/, else the shipped models)
        host: IP address to listen on (default: CNNZOO_HOST, else 127.0.0.1)
        port: port to listen on (default: CNNZOO_PORT, else 3000)
        workers: worker processes (default: CNNZOO_WORKERS, else 1)

    Raises ValueError for a wrong setting or a zoo without a model, OSError if the port is taken.
    """
    given = {"zoo": zoo, "host": host, "port": port, "workers": workers}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    for name in given:
        os.environ[f"CNNZOO_{name.upper()}"] = str(getattr(settings, name))
    for sentence in unknown_settings():
        print(f"warning: {sentence}", file=sys.stderr)
    _check_port(settings.host, settings.port, "--port (make serve PORT=...)")
    if settings.grpc_port:
        _check_port(settings.host, settings.grpc_port, "CNNZOO_GRPC_PORT")
    if not settings.zoo.is_dir():
        raise FileNotFoundError(f"there is no folder {settings.zoo}: give another --zoo")
    count = _list_models(ZooFolder(settings.zoo))
    if not count:
        raise ValueError(EMPTY.format(folder=settings.zoo))
    several = f", {settings.workers} workers" if settings.workers > 1 else ""
    several += f", gRPC on port {settings.grpc_port}" if settings.grpc_port else ""
    url = f"http://{address_of(settings.host, settings.port)}"
    print(f"Serving {count} of these at {url}{several}  (Ctrl-C stops)", flush=True)

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    address = ["--host", settings.host, "--port", str(settings.port)]
    # A client that has stopped reading would delay the end for ever. Load balancers keep connections for a minute.
    times = ["--timeout-graceful-shutdown", str(math.ceil(settings.timeout) + 10), "--timeout-keep-alive", "75"]
    command = [sys.executable, "-m", "bentoml", "serve", "cnnzoo.serve.service:ZooService", *address, *times]
    os.execv(sys.executable, command)


def _list_models(zoo: ZooFolder) -> int:
    """Print the models of a zoo folder, and return how many can be served."""
    count = 0
    for path in zoo.files():
        try:
            card = read_card(path)
        except (ContractError, OSError) as error:
            print(readable(f"  {path.relative_to(zoo.path)} cannot be served: {error}"))
            continue
        accuracy = card.metrics.get("accuracy")
        tested = "" if accuracy is None else f"{accuracy:.2%} on {card.dataset_title}"
        print(f"  {card.name} {card.version}  {tested}")
        count += 1
    return count


def _check_port(host: str, port: int, option: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, f"choose another {option}")
        raise OSError(f"cannot listen on {address_of(host, port)} ({error.strerror}): {advice}") from None
