"""One measurement with wrk: a number of connections, each sending the same request again as soon as it is answered."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk, the load generator, is not installed: apt-get install wrk")


def load(request: bytes, port: int, connections: int, seconds: int) -> dict[str, Any]:
    """Figures of one run of wrk; where nothing was answered in time there are no latencies: they are None."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
        command += ["-s", str(Path(__file__).with_suffix(".lua")), f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            command, env={**os.environ, "REQUEST": file.name}, stdout=subprocess.PIPE, check=True, text=True
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    if not figures["requests"]:
        figures |= {"p50_ms": None, "p99_ms": None}
    return {**figures, "requests_per_second": figures["requests"] / figures.pop("seconds")}
