"""What benchmarks/serving.py sends: a model, images, and the answers that ONNX Runtime gives to them."""

import io
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

PAYLOADS = ["tensor", "json", "png", "batch", "empty"]
BATCH = 64  # images of the payload "batch"
CHECKED = 3  # images that are compared one at a time


@dataclass(frozen=True)
class Material:
    """In plain Python types, for a process that loads no numpy.

    Args:
        name: the model's.
        shape: (channels, height, width) of an image.
        zoo: a zoo folder with that model alone.
        model: the file.
        images: raw pixels of BATCH images.
        pictures: the same as PNG files.
        expected: probabilities of each, classes of them.
        classes: how many.
    """

    name: str
    shape: tuple[int, ...]
    zoo: Path
    model: Path
    images: list[bytes]
    pictures: list[bytes]
    expected: list[list[float]]
    classes: int

    def contents(self, payload: str) -> list[tuple[bytes, list[float]]]:
        """What to send for a payload, and the probabilities that are right, image after image."""
        if payload == "empty":
            return [(b"", [])]
        if payload == "batch":
            return [(b"".join(self.images), list(chain.from_iterable(self.expected)))]
        sent = self.pictures if payload == "png" else self.images
        return [(sent[n], self.expected[n]) for n in range(CHECKED)]


def prepare(file: Path | None, zoo: Path) -> Material:
    """A zoo with one model: `file`, or an untrained MNIST CNN."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    from cnnzoo.serve.contract import ModelCard
    from cnnzoo.serve.session import Session

    if file is None:
        from cnnzoo.models import create_model
        from cnnzoo.models.export import to_onnx, write

        card = ModelCard("mnist_cnn", 1, tuple("0123456789"), (1, 28, 28), "mnist")
        model = write(to_onnx(create_model("mnist_cnn")), card, zoo)
    else:
        card = Session(file.read_bytes()).card
        model = zoo / card.name / str(card.version) / "model.onnx"
        model.parent.mkdir(parents=True)
        shutil.copyfile(file, model)

    # Handwriting, light on a dark border, of the network's size: no server has to frame or resize such a picture.
    height, width = card.input_shape[1:]
    top, left = height // 7, width // 7
    images = np.zeros((BATCH, *card.input_shape), np.uint8)
    for image, digit in zip(images, load_digits().images, strict=False):
        ink = Image.fromarray((digit * 15.9375).astype(np.uint8)).resize((width - 2 * left, height - 2 * top))
        image[:, top:-top, left:-left] = ink
    pictures = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[0] if card.mode == "L" else image.transpose(1, 2, 0)).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    expected = Session(model.read_bytes()).run(images)[1]
    sent = [image.tobytes() for image in images]
    return Material(card.name, card.input_shape, zoo, model, sent, pictures, expected.tolist(), len(card.classes))
