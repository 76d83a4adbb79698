"""Test `cnnzoo pack`: the stock libraries load what it writes, and get the same answers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import command
from huggingface_hub import ModelCard as HubCard
from PIL import Image
from safetensors.torch import load_file

from cnnzoo.contract.images import to_input
from cnnzoo.contract.zoo_folder import SHIPPED
from cnnzoo.models import create_model

FILE = "zoo/digits_cnn/2/model.onnx"


def packed(trained: Path, tmp_path: Path, kind: str) -> str:
    finished = command("pack", "digits_cnn", "--as", kind, "--zoo", str(trained / "zoo"), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


@pytest.fixture
def images(digits) -> np.ndarray:
    return digits[0][:16].numpy()


def test_a_repository_for_hugging_face(
    trained: Path, tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    assert "digits_cnn@2 in packed/digits_cnn" in packed(trained, tmp_path, "huggingface")
    folder = tmp_path / "packed/digits_cnn"
    card = HubCard.load(folder / "README.md")
    own = json.loads(command("card", "digits_cnn", "--json", "--zoo", str(trained / "zoo"), cwd=tmp_path).stdout)
    (accuracy,) = (result for result in card.data.eval_results or [] if result.metric_type == "accuracy")
    assert accuracy.metric_value == own["metrics"]["accuracy"]
    assert accuracy.dataset_name == "digits"
    assert card.data.license == own["license"].lower()
    assert card.data.pipeline_tag == "image-classification"
    assert "Limitations" in card.text
    assert (folder / "model.onnx").read_bytes() == (trained / FILE).read_bytes()
    model = create_model("digits_cnn")
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    config = json.loads((folder / "config.json").read_text())
    probabilities = (model.eval()(torch.from_numpy(images)) / config["temperature"]).softmax(1)
    np.testing.assert_allclose(probabilities.detach(), answers(trained / FILE, images), atol=1e-5)
    assert config["id2label"]["3"] == "3"
    assert config["architectures"] == ["DigitsCNN"]
    # The README's own way from an image file to probabilities.
    (example,) = card.text.split("```python")[1:]
    Image.fromarray(images[0, 0]).save(folder / "image.png")
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec(example.split("```")[0], found)
    expected = to_input(Image.fromarray(images[0, 0]), (1, 8, 8), "digits")
    np.testing.assert_array_equal(found["images"], expected[None])
    np.testing.assert_allclose(found["probabilities"], answers(trained / FILE, expected[None]), atol=1e-6)
    assert config["prepare"] == "digits"


def test_a_repository_names_its_dataset_and_has_weights_for_a_network_with_batch_norm(tmp_path: Path):
    words = ("pack", "mnist_speednet", "--as", "huggingface", "--zoo", str(SHIPPED))
    assert command(*words, cwd=tmp_path).returncode == 0
    folder = tmp_path / "packed/mnist_speednet"
    card = HubCard.load(folder / "README.md")
    assert card.data.datasets == ["ylecun/mnist"]
    assert set(card.data.tags) >= {"onnx", "image-classification"}
    config = json.loads((folder / "config.json").read_text())
    model = create_model("mnist_speednet", **config["model"]["init_args"])
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits = create_model("mnist_speednet", pretrained=True).eval().logits_in_training(images)
    torch.testing.assert_close(model.eval().logits_in_training(images), logits)


def test_the_snippet_of_the_docs_gives_the_files_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert command("pack", "mnist_cnn", "--as", "huggingface", "--zoo", str(SHIPPED), cwd=tmp_path).returncode == 0
    page = (Path(__file__).parents[2] / "docs/anywhere.md").read_text()
    (snippet,) = (code for code in page.split("```python\n")[1:] if "model.safetensors" in code.split("```")[0])
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"images": images}
    with torch.inference_mode():
        exec(snippet.split("```")[0], found)
    expected = answers(tmp_path / "packed/mnist_cnn/model.onnx", images.numpy())
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_figures_of_a_lossy_copy_are_not_those_of_the_original(tmp_path: Path):
    assert command("pack", "cifar10_cnn", "--as", "huggingface", "--zoo", str(SHIPPED), cwd=tmp_path).returncode == 0
    card = HubCard.load(tmp_path / "packed/cifar10_cnn/README.md")
    assert card.data.datasets is None
    assert {(r.dataset_name, r.dataset_type) for r in card.data.eval_results or []} == {
        ("CIFAR-10 (JPEG q75)", "cifar-10-jpeg-q75")
    }


@pytest.mark.slow
def test_a_model_in_bentomls_store(trained: Path, tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    home = {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    words = [sys.executable, "-m", "cnnzoo", "pack", "digits_cnn", "--as", "bentoml", "--zoo", str(trained / "zoo")]
    environment = {**os.environ, **home}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = (
        "import bentoml; model = bentoml.models.get('digits_cnn:2'); print(model.path_of('model.onnx'))\n"
        "print(model.info.metadata['facts']['Test accuracy'])"
    )
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    path, accuracy = found.stdout.splitlines()
    assert Path(path).read_bytes() == (trained / FILE).read_bytes()
    assert "of 360 images" in accuracy
    again = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert "BentoML's store has digits_cnn:2" in again.stderr


@pytest.mark.slow
def test_an_mlflow_model(trained: Path, tmp_path: Path, images: np.ndarray):
    words = [sys.executable, "-m", "cnnzoo", "pack", "digits_cnn", "--as", "mlflow", "--zoo", str(trained / "zoo")]
    subprocess.run(words, cwd=tmp_path, check=True)  # a process of its own: MLflow warns when it is imported
    np.save(tmp_path / "images.npy", images)
    code = (
        "import mlflow, numpy as np; model = mlflow.pyfunc.load_model('packed/digits_cnn')\n"
        "answers = model.predict({'images': np.load('images.npy')}); np.save('answers.npy', answers['probabilities'])\n"
        "print(model.metadata.metadata['Test accuracy'])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "of 360 images" in found.stdout
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), answers(trained / FILE, images), atol=1e-5)


def test_what_cannot_be_packed_says_why(trained: Path, tmp_path: Path):
    (tmp_path / "packed/digits_cnn").mkdir(parents=True)
    words = ("pack", "digits_cnn", "--zoo", str(trained / "zoo"), "--as")
    assert "packed/digits_cnn exists: remove it" in command(*words, "huggingface", cwd=tmp_path).stderr
    assert "--output is for huggingface and mlflow" in command(*words, "bentoml", "--output", "x", cwd=tmp_path).stderr
    assert 'Invalid value "keras"' in command(*words, "keras", cwd=tmp_path).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
