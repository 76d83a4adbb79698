"""Value of framing: accuracy on handwriting anywhere on a page, with and without `prepare`.

MNIST training digits, enlarged and pasted as dark ink on white pages, are classified by the shipped `mnist_cnn` and
`digits_cnn`, which have seen digits in their datasets' frames only. The writers are also new to `digits_cnn`.

    CNNZOO_DATA=<folder with MNIST> python benchmarks/handwriting.py
"""

import numpy as np
import onnxruntime
from common import show
from PIL import Image, ImageOps

from cnnzoo.contract.images import to_input
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.zoo_folder import SHIPPED, ZooFolder
from cnnzoo.datamodules import MNISTDataModule

N = 1500


def pages(digits: np.ndarray) -> list[Image.Image]:
    """Place each digit, uint8 [28, 28], at a random position on a page of 320×280."""
    rng = np.random.default_rng(0)
    out = []
    for digit in digits:
        page = Image.new("L", (320, 280), 255)
        ink = ImageOps.invert(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC))
        page.paste(ink, (int(rng.integers(0, 180)), int(rng.integers(0, 140))))
        out.append(page)
    return out


def main() -> None:
    """Measure and print."""
    data = MNISTDataModule()
    data.prepare_data()
    digits, labels = data.load(train=True)
    images = pages(digits[:N, 0].numpy())
    rows = []
    for name in ("mnist_cnn", "digits_cnn"):
        path = ZooFolder(SHIPPED).find(name)
        card, session = read_card(path), onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        row = []
        for prepare in (card.prepare, "photo"):
            inputs = np.stack([to_input(image, card.input_shape, prepare) for image in images])
            row.append((session.run(["logits"], {"images": inputs})[0].argmax(1) == labels[:N].numpy()).mean())
        rows.append([name, *(f"{share:.1%}" for share in row)])
    show(f"accuracy on {N:,} MNIST training digits on pages", ("model", "prepare=auto", "prepare=none"), rows)


if __name__ == "__main__":
    main()
