"""Which images does a score flag as unlike the training images? Every score of benchmarks/scores.py, on a zoo's files.

    CNNZOO_DATA=<folder> python benchmarks/familiarity.py --zoo zoo

The threshold of a score is that which flags 5% of the held-out images. Prints the share of test images and of each
kind of strangers (datamodules/strangers.py) that is flagged, and writes benchmarks/familiarity.json, from which
`make tables` makes the table of docs/familiarity.md. Scores see one view of an image.
"""

from pathlib import Path

import scores
from common import options, output_of, save, show

from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.names import UNFAMILIAR
from cnnzoo.contract.zoo_folder import ZooFolder
from cnnzoo.datamodules import from_card
from cnnzoo.datamodules.batches import evenly_spaced
from cnnzoo.datamodules.strangers import strangers
from cnnzoo.models.pretrained import restore

TRAIN = 10_000  # images on which scores are fitted
IMAGES = 1000  # of each kind

Flagged = dict[str, dict[str, float]]
"""By score and by kind of images, the share that is flagged."""


def measure(path: Path) -> Flagged:
    """Return what each score flags on a file's test images and on strangers."""
    data = from_card(read_card(path))
    data.setup("validate")
    train, held_out = data.splits["train"], data.splits["val"]
    test = data.load(train=False)[0]
    spread = evenly_spaced(TRAIN, len(train))
    some = test[evenly_spaced(IMAGES, len(test))]
    model = restore(path).eval()
    known, held = scores.see(model, train[spread][0]), scores.see(model, held_out[:][0])
    shown = {"test images": test, **strangers(data, some)}
    seen = {kind: scores.see(model, images) for kind, images in shown.items()}
    found: Flagged = {}
    for name, score in scores.fit(model, known, train[spread][1], held).items():
        threshold = score(held).quantile(1 - UNFAMILIAR)
        found[name] = {kind: (score(part) > threshold).double().mean().item() for kind, part in seen.items()}
    return found


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    args = parser.parse_args()
    report = {}
    for path in ZooFolder(args.zoo).files():
        card = read_card(path)
        if card.precision == "fp32":
            report[card.name] = flagged = measure(path)
            kinds = list(next(iter(flagged.values())))
            rows = [[name, *(f"{row[kind]:.1%}" for kind in kinds)] for name, row in flagged.items()]
            show(card.name, ["flagged by", *kinds], rows)
    save(output_of(parser, args), report)


if __name__ == "__main__":
    main()
