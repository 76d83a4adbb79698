"""A model of the zoo as a repository for the Hugging Face Hub: model card, config, weights and the ONNX file."""

import json
import re
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx.numpy_helper import to_array

from ..contract.card import ModelCard
from ..contract.facts import facts

HUB_DATASETS = {"MNIST": "ylecun/mnist", "CIFAR-10": "uoft-cs/cifar10"}  # on the Hub, by the title in a card
PARAMETERS = "network."  # with which the names of a network's parameters begin
METRICS = ("accuracy", "balanced_accuracy", "calibration_error")
README = """
# {name}

{summary}.

{facts}

## Use

The file takes raw pixels, uint8 `[N, {channels}, {height}, {width}]`, and gives {outputs}. An image file becomes pixels
as in training, {prepared}, by cnnzoo, which is installed from a clone of its repository and needs no PyTorch for this:

```python
from pathlib import Path

import onnxruntime
from cnnzoo.contract.images import decode, to_input

images = to_input(decode(Path("image.png").read_bytes()), {shape}, "{prepare}")[None]
session = onnxruntime.InferenceSession("model.onnx")
logits, probabilities = session.run(["logits", "probabilities"], {{"images": images}})
```
"""
PREPARED = {
    "photo": "cropped and scaled",
    "photo_jpeg75": "cropped, scaled and compressed as a JPEG of quality 75",
    "mnist": "with the handwriting found and framed as MNIST does",
    "digits": "with the handwriting found and framed as the digits dataset does",
}


def write_repository(
    card: ModelCard, content: bytes, proto: onnx.ModelProto, folder: Path, safetensors_numpy: Any
) -> None:
    """Write README.md, config.json and model.onnx, and model.safetensors for an fp32 file."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    (folder / "config.json").write_text(json.dumps(config(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(card, len(content)), encoding="utf-8")
    if card.precision == "fp32":
        weights = {t.name: to_array(t) for t in proto.graph.initializer if t.name.startswith(PARAMETERS)}
        safetensors_numpy.save_file(weights, folder / "model.safetensors", {"format": "pt"})


def config(card: ModelCard) -> dict[str, Any]:
    """Return config.json: the classes, the input, and the network with its arguments."""
    labels, (network, _) = dict(enumerate(card.classes)), card.recipe("model")
    return {
        "model_type": "cnnzoo",
        "architectures": [network],
        "id2label": labels,
        "label2id": {name: number for number, name in labels.items()},
        "input_shape": list(card.input_shape),
        "prepare": card.prepare,
        "temperature": card.temperature,
        "model": card.config.get("model", {}),
    }


def readme(card: ModelCard, size: int) -> str:
    """Return the model card: front matter that the Hub reads, and the card's facts."""
    title = card.dataset_title or "unknown"
    dataset = {"name": title, "type": HUB_DATASETS.get(title, re.sub(r"\W+", "-", title.lower()).strip("-"))}
    metrics = [{"type": key, "value": card.metrics[key]} for key in METRICS if key in card.metrics]
    result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}
    front: dict[str, Any] = {
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["cnnzoo", "onnx", "image-classification"],
        "metrics": ["accuracy"],
        "model-index": [{"name": card.name, "results": [result]}],
    }
    if card.license:
        front["license"] = card.license.lower()
    if title in HUB_DATASETS:
        front["datasets"] = [HUB_DATASETS[title]]
    channels, height, width = card.input_shape
    text = README.format(
        name=card.name,
        summary=card.summary,
        facts="\n".join(f"- **{label}**: {fact}" for label, fact in facts(card, size).items()),
        channels=channels,
        height=height,
        width=width,
        shape=card.input_shape,
        prepare=card.prepare,
        prepared=PREPARED[card.prepare],
        outputs=", ".join(f"`{output}`" for output in card.outputs),
    )
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{text}"
