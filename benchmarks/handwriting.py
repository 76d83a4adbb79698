"""What framing the ink is worth: handwriting anywhere on a page, with and without `prepare`.

MNIST training digits, enlarged and pasted as dark ink onto white pages, are classified by the newest
`digits_cnn` and `mnist_cnn` of the zoo, whose own training ends at their own frame. For `digits_cnn`
the hands are strangers' too: its training digits were written elsewhere, in another style.

    CNNZOO_DATA=<folder with MNIST> python benchmarks/handwriting.py
"""

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from cnnzoo.contract.images import to_input
from cnnzoo.datamodules import MNISTDataModule
from cnnzoo.serve.settings import settings
from cnnzoo.serve.zoo import Zoo

N = 1500


def pages(digits: np.ndarray) -> list[Image.Image]:
    """Each digit, uint8 [28, 28], somewhere on a page of 320×280."""
    rng = np.random.default_rng(0)
    out = []
    for digit in digits:
        page = Image.new("L", (320, 280), 255)
        ink = ImageOps.invert(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC))
        page.paste(ink, (int(rng.integers(0, 180)), int(rng.integers(0, 140))))
        out.append(page)
    return out


def main() -> None:
    data = MNISTDataModule()
    data.prepare_data()
    images, labels = data.load(train=True)
    pictures = pages(images[:N, 0].numpy())
    zoo = Zoo(settings().zoo)
    table = Table("model", "prepare=auto", "prepare=none", title=f"accuracy on {N:,} MNIST training digits on pages")
    for name in ("mnist_cnn", "digits_cnn"):
        model = zoo.get(name)
        if model is None:
            continue
        row = []
        for prepare in (model.card.prepare, "photo"):
            inputs = np.stack([to_input(picture, model.card.input_shape, prepare) for picture in pictures])
            row.append((model.run(inputs)[0].argmax(1) == labels[:N].numpy()).mean())
        table.add_row(f"{name} {model.card.version}", *(f"{share:.1%}" for share in row))
    if not table.row_count:
        raise SystemExit(f"neither mnist_cnn nor digits_cnn is in {zoo.folder}: export one first")
    Console().print(table)


if __name__ == "__main__":
    main()
