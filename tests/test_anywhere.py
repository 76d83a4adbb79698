"""Run the snippets of docs/anywhere.md and README.md, and test that other runtimes can read the files."""

import ast
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import exported, listening, png, web_server
from PIL import Image
from playwright.sync_api import Browser

from cnnzoo.commands.cards import entries
from cnnzoo.models.variants import to_fp16, to_int8

ROOT = Path(__file__).parent.parent
WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def last_line(code: str, folder: Path) -> str:
    """Run a program outside the repository, and return the last line that it prints."""
    lines = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}
    )
    assert lines.returncode == 0, lines.stderr
    return lines.stdout.splitlines()[-1]


@pytest.fixture
def downloaded(tmp_path: Path, trained: Path) -> Path:
    shutil.copy(trained / "zoo/digits_cnn/1/model.onnx", tmp_path / "digits_cnn-2.onnx")
    return tmp_path


def test_python_with_numpy_and_pillow(downloaded: Path, digits):
    run, card, prepared = snippets("docs/anywhere.md", "python")[:3]
    images, labels = digits[0][:5], digits[1][:5]
    for number, image in enumerate(images):
        (downloaded / f"seven{number}.png").write_bytes(png(image[0].numpy()))
    kept = "\nfound, accuracy = card['classes'][probabilities[0].argmax()], card['metrics']['accuracy']\n"
    say_again = "\nanswers.append((found, accuracy, card.classes[probabilities[0].argmax()]))"
    code = run + card + kept + prepared + say_again
    each = f"code = {code!r}\nanswers = []\nfor n in range(5): exec(code.replace('seven.png', f'seven{{n}}.png'))"
    answers = ast.literal_eval(last_line(f"{each}\nprint(answers)", downloaded))
    assert sum(int(found) == label for (found, _, _), label in zip(answers, labels, strict=True)) >= 4
    for found, accuracy, again in answers:
        assert again == found
        assert 0.9 < accuracy <= 1


def test_readmes_snippet(downloaded: Path, digits):
    (snippet,) = (code for code in snippets("README.md", "python") if "InferenceSession" in code)
    np.save(downloaded / "pixels.npy", digits[0].numpy())
    own = re.sub(r"(?m)^pixels = .*$", "pixels = numpy.load('pixels.npy')", snippet)
    pasted = f"{snippet}\nshape = logits.shape\n"  # as it is
    code = f"{pasted}{own}\nprint(shape[0], shape[1], card['name'], logits.argmax(1).tolist())"
    *shape, name, answers = last_line(code, downloaded).split(" ", 3)
    assert (shape, name) == (["1", "10"], "digits_cnn")
    assert (torch.tensor(json.loads(answers)) == digits[1]).float().mean() > 0.9


def test_back_into_torch(downloaded: Path, digits, monkeypatch):
    monkeypatch.chdir(downloaded)
    names: dict = {"images": digits[0]}
    (code,) = (code for code in snippets("docs/anywhere.md", "python") if ".onnx" in code and "create_model" in code)
    with torch.inference_mode():
        exec(code, names)
    expected = onnxruntime.InferenceSession("digits_cnn-2.onnx").run(["probabilities"], {"images": digits[0].numpy()})
    np.testing.assert_allclose(names["probabilities"], expected[0], atol=1e-5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve onnxruntime-web from a web server. Yield its URL."""
    tmp_path = tmp_path_factory.mktemp("web")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: apt-get install npm")
    packed = subprocess.run(
        [npm, "pack", "--silent", "onnxruntime-web@1"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert packed.returncode == 0, packed.stderr
    shutil.unpack_archive(tmp_path / packed.stdout.split()[-1], tmp_path / "unpacked")
    (tmp_path / "site").mkdir()
    for name in WEB:
        shutil.copy(tmp_path / "unpacked/package/dist" / name, tmp_path / "site")
    (tmp_path / "site/index.html").write_text("<!doctype html><title>elsewhere</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    handler.func.extensions_map[".mjs"] = "text/javascript"  # type: ignore[attr-defined]
    with web_server(handler) as url:
        yield url


@pytest.mark.slow
@pytest.mark.browser
def test_onnxruntime_web_answers_the_same(site: str, browser: Browser, trained: Path, digits):
    """A page of another origin fetches the model from the service, and runs it in Chromium."""
    (snippet,) = snippets("docs/anywhere.md", "js")
    pixels = digits[0].numpy()
    with listening(trained / "zoo", origins=site) as client, browser.new_page() as page:
        expected = client.post(
            "/v2/models/digits_cnn/infer", content=pixels.tobytes(), headers={"Inference-Header-Content-Length": "0"}
        )
        outputs = np.frombuffer(expected.content[int(expected.headers["inference-header-content-length"]) :], "<f4")
        page.goto(site)
        code = snippet.replace("http://127.0.0.1:3000", str(client.base_url).rstrip("/"))
        page.evaluate("list => { window.pixels = new Uint8Array(list) }", pixels.ravel().tolist())
        page.add_script_tag(
            type="module",
            content=f"{code}\nwindow.answers = Array.from(probabilities.data);"
            "window.familiarity = Array.from(familiarity.data);",
        )
        page.wait_for_function("window.familiarity", timeout=60_000)
        answers = np.array(page.evaluate("window.answers"), np.float32).reshape(-1, 10)
        familiarity = np.array(page.evaluate("window.familiarity"), np.float32)
    n = len(pixels)
    probabilities = outputs[10 * n : 20 * n].reshape(-1, 10)
    np.testing.assert_allclose(familiarity, outputs[20 * n :], atol=1e-4)
    np.testing.assert_allclose(answers, probabilities, atol=1e-4)
    assert (answers.argmax(1) == probabilities.argmax(1)).all()


# Fetches every file and asks it about its images: name → logits.
EVERY = """
import * as ort from "./ort.wasm.bundle.min.mjs";
const answers = {};
for (const [name, { dims, pixels }] of Object.entries(window.asked)) {
  const session = await ort.InferenceSession.create(`${window.service}/models/${name}.onnx`);
  const { logits } = await session.run({ images: new ort.Tensor("uint8", new Uint8Array(pixels), dims) });
  answers[name] = Array.from(logits.data);
}
window.answers = answers;
"""


@pytest.mark.browser
@pytest.mark.slow
def test_what_comes_along_runs_in_onnxruntime_web(site: str, browser: Browser, shipped: Path, digits):
    """Compare every shipped file, int8 too, with ONNX Runtime in Python."""
    photos = [Image.open(path).convert("RGB") for path in sorted((ROOT / "serve/page/examples").glob("*.jpg"))]
    small = digits[0][:8].numpy()
    images = {
        (1, 8, 8): small,
        (1, 28, 28): np.pad(small.repeat(2, 2).repeat(2, 3), ((0, 0), (0, 0), (6, 6), (6, 6))),
        (3, 32, 32): np.stack([np.asarray(photo).transpose(2, 0, 1) for photo in photos]),
    }
    found = {entry.card.name: entry for entry in entries(shipped)}
    asked = {name: images[entry.card.input_shape] for name, entry in found.items()}
    with listening(shipped, origins=site) as client, browser.new_page() as page:
        page.goto(site)
        page.evaluate(
            "([service, asked]) => Object.assign(window, { service, asked })",
            [
                str(client.base_url).rstrip("/"),
                {name: {"dims": x.shape, "pixels": x.ravel().tolist()} for name, x in asked.items()},
            ],
        )
        page.add_script_tag(type="module", content=EVERY)
        page.wait_for_function("window.answers", timeout=120_000)
        answers = page.evaluate("window.answers")
    assert answers.keys() == found.keys()
    for name, entry in found.items():
        (expected,) = onnxruntime.InferenceSession(entry.path).run(["logits"], {"images": asked[name]})
        logits = np.array(answers[name], np.float32).reshape(expected.shape)
        rounding = 1e-3 if entry.card.precision == "fp32" else 0.1  # a step of eight bits, to this side or that
        np.testing.assert_allclose(logits, expected, atol=rounding * np.abs(expected).max(), err_msg=name)
        assert (logits.argmax(1) == expected.argmax(1)).all(), name


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mnist_cnn", "mnist_speednet", "cifar10_speednet")]


@pytest.mark.parametrize("name", ["digits_cnn", "cifar10_cnn", *SLOW])
def test_files_keep_to_onnx_itself(name: str):
    """Files use standard operators of opset 18 alone, so that runtimes other than ONNX Runtime can read them."""
    model, full = exported(name)
    images = torch.randint(0, 256, (64, *model.input_shape), dtype=torch.uint8)
    assert {o.domain for o in full.opset_import} == {""}
    for proto in (full, to_int8(full, images), to_fp16(full)):
        onnx.checker.check_model(proto, full_check=True)
        assert {
            (o.domain, o.version) for o in proto.opset_import if o.domain in {n.domain for n in proto.graph.node}
        } == {("", 18)}
        for node in proto.graph.node:
            assert node.domain in ("", "ai.onnx"), node.op_type
            assert onnx.defs.has(node.op_type)
        assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer)
