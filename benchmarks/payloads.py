"""The model and the images that benchmarks/serving.py sends, and ONNX Runtime's own answers to them."""

import io
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

PAYLOADS = ["tensor", "json", "png", "batch"]
BATCH = 64  # images of the payload "batch"
CHECKED = 3  # images whose answers are compared one at a time


@dataclass(frozen=True)
class Payloads:
    """Test data in plain Python types, for a process that does not load numpy.

    Args:
        name: of the model.
        shape: (channels, height, width) of an image.
        zoo: a zoo folder with this model alone.
        model: path of the file.
        images: raw pixels of BATCH images.
        pngs: the same as PNG files.
        expected: probabilities of each image.
        classes: number of classes.
    """

    name: str
    shape: tuple[int, ...]
    zoo: Path
    model: Path
    images: list[bytes]
    pngs: list[bytes]
    expected: list[list[float]]
    classes: int

    def contents(self, payload: str) -> list[tuple[bytes, list[float]]]:
        """Return pairs of what to send for a payload and the correct probabilities."""
        if payload == "batch":
            return [(b"".join(self.images), list(chain.from_iterable(self.expected)))]
        sent = self.pngs if payload == "png" else self.images
        return [(sent[n], self.expected[n]) for n in range(CHECKED)]


def prepare(file: Path, folder: Path) -> Payloads:
    """Copy a zoo file into a new zoo folder, and make images of its size."""
    import numpy as np
    import onnxruntime
    from PIL import Image
    from sklearn.datasets import load_digits

    from cnnzoo.contract.model_file import read_card
    from cnnzoo.contract.zoo_folder import ModelId, ZooFolder

    card = read_card(file)
    folder.mkdir(parents=True)
    model = ZooFolder(folder).add(ModelId(card.name, card.version), file.read_bytes())
    # Light digits on a dark border, of the network's size: no server has to frame or resize such an image.
    height, width = card.input_shape[1:]
    top, left = height // 7, width // 7
    images = np.zeros((BATCH, *card.input_shape), np.uint8)
    for image, digit in zip(images, load_digits().images, strict=False):
        ink = Image.fromarray((digit * 15.9375).astype(np.uint8)).resize((width - 2 * left, height - 2 * top))
        image[:, top:-top, left:-left] = np.asarray(ink)
    pngs = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[0] if card.mode == "L" else image.transpose(1, 2, 0)).save(buffer, "PNG")
        pngs.append(buffer.getvalue())
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"images": images})[0].tolist()
    sent = [image.tobytes() for image in images]
    return Payloads(card.name, card.input_shape, folder, model, sent, pngs, expected, len(card.classes))
