"""Are real photos familiar to the CIFAR-10 networks? Stamps of their classes and of other things, cut out, on white.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps
    python benchmarks/cut_out_photos.py stamps/usr/share/tuxpaint/stamps

Prepares each stamp by the card's way and as a plain photo, without the step through a JPEG. Prints the accuracy on
stamps of known classes, the share of known and of other stamps that is flagged, and the AUROC of familiarity between
them. Writes benchmarks/cut_out_photos.json.
"""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import options, save, show
from PIL import Image, ImageOps
from sklearn.metrics import roc_auc_score

from cnnzoo.commands.scoring import Scorer
from cnnzoo.contract.card import Preparation
from cnnzoo.contract.images import decode, to_input, to_mode
from cnnzoo.contract.names import UNFAMILIAR

MODELS = ("cifar10_cnn", "cifar10_resnet20", "cifar10_speednet", "cifar10_speednet_int8")
KNOWN = {  # stamps of each class; a folder stands for all in it. None is a domestic cat
    "airplane": ["vehicles/flight/planes/747.png", "military/vehicles/f22_raptor.png"],
    "automobile": ["vehicles/auto/sportscar2.png", "vehicles/emergency/sedan_police.png"],
    "bird": ["animals/birds"],
    "deer": ["animals/mammals/deer"],
    "dog": ["animals/mammals/dogs/dog.png"],
    "frog": ["animals/amphibians"],
    "horse": ["animals/mammals/equines/horse.png"],
    "ship": ["vehicles/ship/chineseJunk.png"],
    "truck": [
        "vehicles/auto/truck.png",
        "vehicles/construction/dumper.png",
        "vehicles/emergency/firetruck.png",
        "vehicles/garbagetruck.png",
    ],
}
LEFT_OUT = (  # of the other things: what resembles a class, and drawings
    "animals/amphibians", "animals/birds", "animals/mammals", "clipart", "military/vehicles", "symbols", "vehicles",
)  # fmt: skip
OTHERS = 300
SMALLEST = 64  # pixels along the longer side


def known(folder: Path) -> list[tuple[str, Path]]:
    """Return class and path of each stamp of a class of CIFAR-10."""
    found = []
    for label, places in KNOWN.items():
        for place in places:
            path = folder / place
            found += [(label, file) for file in (sorted(path.glob("*.png")) if path.is_dir() else [path])]
    return [(label, file) for label, file in found if _is_large(file)]


def others(folder: Path) -> list[Path]:
    """Return the first stamps of other things."""
    files = (file for file in sorted(folder.rglob("*.png")) if _is_other(file.relative_to(folder).as_posix()))
    return list(islice(filter(_is_large, files), OTHERS))


def _is_other(name: str) -> bool:
    return not name.startswith(LEFT_OUT) and "cartoon" not in name


def _is_large(file: Path) -> bool:
    with Image.open(file) as image:
        return max(image.size) >= SMALLEST


def on_white(file: Path) -> Image.Image:
    """Return a stamp in the middle of a white square."""
    image = to_mode(decode(file.read_bytes()), "RGB")
    return ImageOps.pad(image, (max(image.size), max(image.size)), color="white")


def measure(scorer: Scorer, prepare: Preparation, photos: list[tuple[str, Path]], rest: list[Path]) -> dict[str, Any]:
    """Return what a network makes of stamps of known classes, and of other things."""
    shape = scorer.card.input_shape
    seen = [
        scorer.session.run(np.stack([to_input(on_white(file), shape, prepare) for file in files]))
        for files in ([file for _, file in photos], rest)
    ]
    (_, probabilities, own), (_, _, strange) = seen
    labels = [scorer.card.classes.index(label) for label, _ in photos]
    familiar = np.concatenate([np.ones(len(own)), np.zeros(len(strange))])
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "known, flagged": float((own < UNFAMILIAR).mean()),
        "other things, flagged": float((strange < UNFAMILIAR).mean()),
        "AUROC": float(roc_auc_score(familiar, np.concatenate([own, strange]))),
    }


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("folder", type=Path, help="the stamps of Tux Paint")
    args = parser.parse_args()
    if not (args.folder / "animals").is_dir():
        parser.error(f"{args.folder} has no folder animals: give usr/share/tuxpaint/stamps of the unpacked package")
    photos, rest = known(args.folder), others(args.folder)
    print(f"{len(photos)} stamps of known classes, {len(rest)} of other things")
    found = {}
    for name in MODELS:
        scorer = Scorer.open(name)
        prepared: list[Preparation] = ["photo", scorer.card.prepare]
        found[name] = {way: measure(scorer, way, photos, rest) for way in prepared}
    names = list(next(iter(found[MODELS[0]].values())))
    rows = [
        [name, way, *(f"{value:.3f}" for value in row.values())] for name in found for way, row in found[name].items()
    ]
    show("cut-out photos", ["network", "prepared as", *names], rows)
    save(args.output, {"known": len(photos), "others": len(rest), "networks": found})


if __name__ == "__main__":
    main()
