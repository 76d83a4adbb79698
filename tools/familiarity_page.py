"""docs/familiarity.md, from the cards and from the figures in benchmarks/."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_table import table

from cnnzoo.commands.cards import Entry

ROOT = Path(__file__).parent.parent
HEAD = """# Familiarity: is an image like the training images?

A classifier answers with one of its classes, also about a picture that shows none of them. The output `familiarity`
says how usual an image is for the network.

- It is the share of held-out images that look stranger to the network than this one, from 0 to 1. The held-out images
  are those of the training set on which the network was not trained.
- At 0.5, half of the held-out images look stranger. At 0.003, 99.7% of them look more familiar.
- Below 0.05 the service and the command line call an image `unfamiliar`. So about 5% of images like the training images
  are flagged, too.
- It is a percentile, so a threshold means the same for every network.
- It is not the probability that the answer is correct. That is the confidence, which is calibrated for familiar images.

```sh
cnnzoo predict cifar10_speednet holiday.jpg                    # "unfamiliar" behind the classes of such an image
curl --data-binary @holiday.jpg -H 'Content-Type: image/jpeg' \\
  'localhost:3000/v1/models/cifar10_speednet/predict?min_familiarity=0.01'   # flag fewer
```

## How it is computed

In the ONNX file, from one view of the image, without other data than the training set:

1. Texture: the strength of each frequency of 4×4 pixels, as mean and standard deviation over the image. It does not
   depend on the network.
2. Channel statistics: mean and standard deviation of each channel, of the activations from the second one up to the
   middle of the network. A dense layer gives its values. A network of torchvision gives the outputs of the convolutions
   a quarter and half of the way through.
3. For the texture and each of these layers, the logarithm of the Mahalanobis distance to the training images (Lee et
   al., [arXiv 1807.03888](https://arxiv.org/abs/1807.03888), take features by class and no deviations).
4. The energy, −log Σ exp(logits) (Liu et al., [arXiv 2010.03759](https://arxiv.org/abs/2010.03759)).
5. Each is standardized on held-out images. The logarithm z of a distance, in standard deviations, is replaced by
   2·(z − 1.5). The largest is the strangeness.
6. The distribution of the strangeness of held-out images turns it into familiarity, by linear interpolation.

The distances are for noise, other datasets and broken images, the energy for unknown objects in usual photos.

## What the shipped files flag

At the threshold 0.05, in percent. The images are those of [strangers.py](../datamodules/strangers.py). No network was
trained on those in its column. "As pictures" means: made with about 128 pixels a side, and prepared as the service
prepares pictures ([service.md](service.md)). `cnnzoo verify --metrics` measures it again.

Uniform noise of that size becomes faint when it is scaled to 32×32 pixels, and the JPEG (below) removes most of the
rest. The CIFAR-10 networks flag little of it.
"""
SCORES = """## Scores that were compared

`python benchmarks/familiarity.py` fits each score on at most 10,000 training images and sets its threshold at 5% of the
held-out images. The tables have the share of other images that it flags, in percent. `familiarity` is the score that is
shipped, fitted again on these images, so its figures differ a little from those above. `texture and channels` is the
same without the energy, which is there for unknown classes.
"""
PHOTOS = """## Photos of one's own

A CIFAR-10 network was trained on images that were scaled to 32×32 pixels and kept as JPEG files of quality 75. A sharp
photo has more detail, even when it is scaled. So the service and the command line take it through such a JPEG
(`photo_jpeg75` in the card). The table is of photos that are cut out and on white, the stamps of Tux Paint: {known} of
CIFAR-10's classes, most of them birds, and {others} of other things. In the rows `photo` they were only scaled: nearly
all are flagged, and familiarity hardly tells them apart. The price of the JPEG: of pictures that show noise, shuffled
patches or crops of photos, fewer are flagged than of the same kinds as pixels (above).

```sh
apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps
python benchmarks/cut_out_photos.py stamps/usr/share/tuxpaint/stamps
```
"""
UNKNOWN = """## Unknown classes

The hardest case: images of classes that the network does not know, in the style of those that it knows. A recipe trains
on six classes. The table has the AUROC between held-out images of these and images of the other four: 0.5 is chance, 1
is perfect. The energy alone does a little better here than familiarity, which contains it, and has to notice noise and
other datasets, too.

```sh
python benchmarks/unknown_classes.py --config mnist
python benchmarks/unknown_classes.py --config cifar10_speednet
python benchmarks/unknown_classes.py --config cifar10_speednet --flags --model.label_smoothing 0
python benchmarks/unknown_classes.py --config cifar10_speednet --unknown airplane automobile ship truck
python benchmarks/unknown_classes.py --config cifar10_speednet --unknown airplane automobile ship truck \\
  --flags --model.label_smoothing 0
```

The shipped `cifar10_speednet` is of another recipe, `cifar10_speednet_long`, which was not measured here: it takes
hours.
"""


def pages(found: Sequence[Entry]) -> dict[Path, str]:
    """Return the expected text of docs/familiarity.md."""
    parts = [HEAD, _flagged(found), SCORES, *_scores(_figures("familiarity"))]
    photos = _figures("cut_out_photos")
    if photos:
        parts[2:2] = [PHOTOS.format(**photos), _photos(photos["networks"])]
    unknown = _figures("unknown_classes")
    if unknown:
        parts += [UNKNOWN, _unknown(unknown)]
    return {ROOT / "docs/familiarity.md": "\n\n".join(part.strip() for part in parts) + "\n"}


def _figures(name: str) -> dict[str, Any]:
    path = ROOT / "benchmarks" / f"{name}.json"
    figures: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return figures


def _flagged(found: Sequence[Entry]) -> str:
    """Return a row for each kind of images and a column for each file that has the output."""
    cards = [card for _, card, _ in found if card.familiarity]
    flagged = {
        card.name: {"test images": card.familiarity["flagged"]}
        | {kind: row["flagged"] for kind, row in card.familiarity["strangers"].items()}
        for card in cards
        if card.familiarity
    }
    return _percentages("flagged", flagged)


def _scores(figures: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Return a title and a table for each network, with a column for each score."""
    return [text for name, scores in figures.items() for text in (f"### {name}", _percentages("flagged by", scores))]


def _photos(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a row for each network and way of preparing a photo."""
    names = list(next(iter(next(iter(figures.values())).values())))
    rows = [
        [f"`{name}`", f"`{way}`", *(f"{row[column]:.3f}" for column in names)]
        for name, ways in figures.items()
        for way, row in ways.items()
    ]
    return table(["network", "prepared as", *names], rows, text=2)


def _unknown(figures: dict[str, dict[str, Any]]) -> str:
    """Return a row for each training and a column for each score."""
    names = [name for name in next(iter(figures.values())) if name != "unknown"]
    rows = [
        [f"`{recipe.partition(' without ')[0]}`", row["unknown"], *(f"{row[name]:.3f}" for name in names)]
        for recipe, row in figures.items()
    ]
    return table(["recipe", "unknown", *names], rows, text=2)


def _percentages(corner: str, columns: dict[str, dict[str, float]]) -> str:
    """Return a table of percentages, with a row for each kind of images."""
    kinds = list(dict.fromkeys(kind for column in columns.values() for kind in column))
    rows = [
        [kind, *(f"{100 * column[kind]:.1f}" if kind in column else "–" for column in columns.values())]
        for kind in kinds
    ]
    return table([corner, *columns], rows)
