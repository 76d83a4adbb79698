"""Test the wheel and the Bento, each in a virtual environment of its own."""

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from helpers import free_port, interrupt, png, running

from cnnzoo.contract import __version__

ROOT = Path(__file__).parent.parent
QUIET = {"BENTOML_DO_NOT_TRACK": "True"}


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env={**inherited, **env}, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the built wheel into a venv that borrows its dependencies from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    run("git", "clone", "--quiet", ROOT, source, cwd=folder)
    changed = run("git", "ls-files", "--modified", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in changed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source, cwd=folder)
    venv.create(folder / "venv", with_pip=True)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    before = {p.name for p in site.iterdir()}
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", next(folder.glob("cnnzoo-*.whl")), cwd=folder)
    gained = {p.name for p in site.iterdir()} - before
    assert gained == {"cnnzoo", f"cnnzoo-{__version__}.dist-info"}
    # A path line in a .pth adds the folder without running the .pth files in it: no editable cnnzoo.
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.mark.slow
def test_the_wheel_trains_and_exports_without_the_repository(installed: Path, tmp_path: Path):
    command = installed / "venv/bin/cnnzoo"
    run(command, "fit", "--config", "digits", "--trainer.max_epochs", "2", cwd=tmp_path)
    run(command, "export", "--config", "digits", cwd=tmp_path)
    assert (tmp_path / "zoo/digits_cnn/1/model.onnx").is_file()
    code = (
        "import cnnzoo.models; from cnnzoo.models import create_model; create_model('mnist_cnn'); print(cnnzoo.models)"
    )
    assert str(installed) in run(installed / "venv/bin/python", "-c", code, cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_brings_the_pretrained_models(installed: Path, tmp_path: Path, digits):
    """Load every shipped model from the wheel into torch, in an empty folder."""
    names = sorted(path.name for path in (ROOT / "zoo").iterdir() if path.is_dir())
    assert {"digits_cnn", "mnist_cnn", "mnist_speednet", "cifar10_cnn", "cifar10_speednet"} <= set(names)
    listed = run(installed / "venv/bin/cnnzoo", "list", cwd=tmp_path)
    assert all(name in listed for name in names)
    files = list((ROOT / "zoo").glob("*/*/model.onnx"))
    assert f"{len(files)} files verified" in run(installed / "venv/bin/cnnzoo", "verify", cwd=tmp_path)
    code = (
        "import numpy, torch; from cnnzoo.models import create_model, list_models\n"
        f"models = {{name: create_model(name, pretrained=True) for name in list_models() if name in {names}}}\n"
        "images = torch.from_numpy(numpy.load('digits.npy'))\n"
        "print((models['digits_cnn'](images).argmax(1) == torch.from_numpy(numpy.load('labels.npy'))).float().mean())"
    )
    images, labels = digits
    np.save(tmp_path / "digits.npy", images.numpy())
    np.save(tmp_path / "labels.npy", labels.numpy())
    printed = run(installed / "venv/bin/python", "-c", code, cwd=tmp_path)
    assert float(printed.removeprefix("tensor(").strip().rstrip(")")) > 0.97


@pytest.mark.slow
def test_the_wheel_holds_the_configs_and_types(installed: Path):
    package = next((installed / "venv").glob("lib/python*/site-packages/cnnzoo"))
    assert {p.name for p in (package / "configs").glob("*.yaml")} == {p.name for p in (ROOT / "configs").glob("*.yaml")}
    assert (package / "serve/routes/predict.py").is_file()
    assert (package / "models/py.typed").is_file()
    pages = [p.relative_to(ROOT) for p in (ROOT / "serve/page").rglob("*") if p.is_file()]
    assert len(pages) > 10
    assert all((package / page).read_bytes() == (ROOT / page).read_bytes() for page in pages)
    assert not (package / "tests").exists()


BELOW = {
    "contract": set(),
    "datamodules": {"contract"},
    "models": {"contract"},
    "serve": {"contract"},
    "commands": {"contract", "datamodules", "models", "serve", "configs"},
}
BASE = {"numpy", "onnx", "PIL", "pydantic", "typing_extensions"}
SERVE = (BASE - {"onnx"}) | {"anyio", "bentoml", "httpx", "onnxruntime", "prometheus_client", "psutil"}
SERVE |= {"pydantic_settings", "starlette", "yaml"}
# The distributions that a room may import; any for the others.
ALLOWED = {"contract": BASE, "serve": SERVE}
# Modules that a setting turns on, and what they may import from an extra.
EXTRAS = {
    "serve/tracing.py": {"opentelemetry"},
    "serve/grpc_server.py": {"google", "grpc", "grpc_health", "tritonclient"},
}


def imports(path: Path, room: str) -> Iterator[tuple[str, str]]:
    """Yield (room, "") for each import of a room in a file, and ("", module) for the other imports."""
    depth = len(path.relative_to(ROOT / room).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level <= depth:
            names = [node.module or ""] if node.level == 0 else []
            if node.module == "cnnzoo" and node.level == 0:
                names = [f"cnnzoo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == depth + 1, f"{path} reaches out of cnnzoo"
            names = [f"cnnzoo.{node.module or alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            yield (rest.partition(".")[0], "") if first == "cnnzoo" else ("", first)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_rooms_below_it(room: str):
    for path in (ROOT / room).rglob("*.py"):
        extra = EXTRAS.get(path.relative_to(ROOT).as_posix(), set())
        for other, module in imports(path, room):
            if other and other != room:
                assert other in BELOW[room], f"{path} imports {other}"
            elif module and room in ALLOWED:
                assert module in ALLOWED[room] | extra | sys.stdlib_module_names, f"{path} imports {module}"


def test_the_release_is_named_in_one_place():
    import importlib.metadata

    import cnnzoo.contract

    assert importlib.metadata.version("cnnzoo") == cnnzoo.contract.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == cnnzoo.contract.__version__
    assert f"## [{cnnzoo.contract.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Wait until a service answers. Fail with its log if it ends, or takes more than a minute."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def built(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a Bento, and return its folder."""
    folder = tmp_path_factory.mktemp("bento")
    source = folder / "source"
    for room in ("contract", "serve"):  # as `make bento` lays them out
        shutil.copytree(ROOT / room, source / "cnnzoo" / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(trained / "zoo", source / "zoo")
    shutil.copy(ROOT / "bentofile.yaml", source)
    shutil.copy(ROOT / "serve/requirements.txt", source)
    run(sys.executable, "-m", "bentoml", "build", cwd=source, BENTOML_HOME=str(folder / "home"), **QUIET)
    return next((folder / "home/bentos/cnnzoo").glob("*/bento.yaml")).parent


@pytest.fixture(scope="module")
def bento(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the Bento as its container does, from a venv with nothing but its requirements. Yield its URL."""
    folder = tmp_path_factory.mktemp("container")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "-r", built / "env/python/requirements.txt", cwd=folder)
    assert "torch" not in run(python, "-m", "pip", "list", cwd=folder)

    port = free_port()
    container = {"BENTO_PATH": str(built), "BENTOML_HOME": str(folder), "CNNZOO_PORT": str(port), **QUIET}
    environment = {**os.environ, **container, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    entry = built / "env/docker/entrypoint.sh"
    deployment = next(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    url = f"http://127.0.0.1:{port}"
    with (
        (folder / "log").open("w") as log,
        running("bash", entry, *arguments, cwd=built, stdout=log, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        wait_until_ready(process, url, folder / "log")
        yield url
        interrupt(process)


@pytest.mark.slow
def test_the_light_environment_serves_lists_gets_and_verifies(tmp_path: Path, shipped: Path):
    """Install serve/requirements.txt alone, and cnnzoo as `make serve` does."""
    venv.create(tmp_path / "venv", with_pip=True)
    python, command = tmp_path / "venv/bin/python", tmp_path / "venv/bin/cnnzoo"
    run(python, "-m", "pip", "install", "--quiet", "-r", ROOT / "serve/requirements.txt", cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT, cwd=tmp_path)
    assert "torch" not in run(python, "-m", "pip", "list", cwd=tmp_path)
    assert "digits_cnn@" in run(command, "list", "--zoo", shipped, cwd=tmp_path)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve = command, "serve", "--zoo", shipped, "--port", str(port)
    with (
        (tmp_path / "log").open("w") as log,
        running(*serve, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **QUIET}) as process,
    ):
        wait_until_ready(process, url, tmp_path / "log")
        run(command, "get", "digits_cnn", "--from", url, cwd=tmp_path)
        interrupt(process)
    assert "1 file verified" in run(command, "verify", cwd=tmp_path)
    for words in (("fit", "--config", "digits"), ("verify", "--metrics")):
        done = subprocess.run([command, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert f"`cnnzoo {words[0]}` needs torch, which is not installed" in done.stderr


@pytest.mark.slow
def test_the_bento_answers_without_torch(bento: str, digits):
    images, labels = digits
    files = [("file", (f"{i}.png", png(images[i, 0].numpy()))) for i in range(100)]
    answer = httpx.post(f"{bento}/v1/models/digits_cnn/predict?top_k=1", files=files, timeout=60).json()
    right = sum(p["classes"][0]["class"] == labels[i] for i, p in enumerate(answer["predictions"]))
    assert right > 85
    assert [m["version"] for m in httpx.get(f"{bento}/models").json()["models"]] == [2, 1]
    assert "<title>cnnzoo</title>" in httpx.get(bento).text
    for name in ("page.js", "examples/frog.jpg"):
        assert httpx.get(f"{bento}/page/{name}").content == (ROOT / "serve/page" / name).read_bytes()


@pytest.mark.slow
def test_the_containers_dockerfile_holds_together(built: Path):
    """Check it without a Docker engine. The slow test of the Bento runs its entry point."""
    text = (built / "env/docker/Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    arguments = {word: [rest for name, rest in steps if name == word] for word in ("FROM", "COPY", "USER", "EXPOSE")}
    assert [image.split()[0] for image in arguments["FROM"]] == [
        f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    ]
    for copy in arguments["COPY"]:
        *sources, _ = [word for word in copy.split() if not word.startswith("--")]
        assert all((built / source).exists() for source in sources), copy
    assert arguments["USER"] == ["bentoml"]  # not root, from there on
    assert "3000" in arguments["EXPOSE"]
    (entry,) = (json.loads(rest) for name, rest in steps if name == "ENTRYPOINT")
    script = built / entry[0].removeprefix("/home/bentoml/bento/")
    run("bash", "-n", script, cwd=built)
    assert "torch" not in (built / "env/python/requirements.txt").read_text()
    assert sorted(p.name for p in (built / "src/zoo").iterdir()) == ["SHA256SUMS", "digits_cnn"]
