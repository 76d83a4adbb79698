"""`cnnzoo inspect` and `cnnzoo explain`: pictures of what a network of the zoo sees, without torch."""

from pathlib import Path

import numpy as np

from ..contract.card import class_number
from ..contract.images import read_input
from ..contract.names import naming
from ..contract.zoo_folder import find_file, read_listed
from ..serve.inspector import Inspector, position_of
from ..serve.occlusion import Cover, covered, drops, fill_of
from . import UsageError, say
from .figures import check_png
from .scoring import BATCH, Scorer


def inspect_model(
    model: str,
    image_file: Path,
    /,
    *,
    layer: str | None = None,
    pixel: str | None = None,
    filters: bool = False,
    output: Path | None = None,
    zoo: Path | None = None,
) -> None:
    """Draw the maps of every layer for an image.

    For a network with many layers, draw the first convolution, the poolings, the sums and the last layers; --layer
    draws any layer.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        image_file: a PNG or JPEG file
        layer: draw all maps of this layer alone, such as conv1
        pixel: draw the arithmetic of one value of that layer: its map, row and column, such as 3,12,7
        filters: draw the filters of the first convolution, in color if it sees three channels
        output: the PNG file (default: NAME-inside.png)
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/ and then the models that come with cnnzoo)
    """
    from . import posters

    try:
        position = None if pixel is None else position_of(pixel)
    except ValueError as error:
        raise UsageError(f"--pixel is {pixel}: {error}") from None
    if position and layer is None:
        raise UsageError("--pixel is one of a layer: give --layer too")
    if filters and layer:
        raise UsageError("--filters and --layer draw different things: give one of them")
    inspector = _open(model, zoo)
    card = inspector.card
    image = read_input(image_file, card.input_shape, card.prepare)
    path = check_png(output) or Path(f"{card.name}-inside.png")
    try:
        if filters:
            first = next((name for name, one in inspector.layers.items() if one.operator == "Conv"), None)
            if first is None:
                raise UsageError(f"{card.name} has no convolution, and so no filters")
            kernels, _ = inspector.kernel(first)
            posters.filters(kernels, card, path)
        elif position and layer:
            posters.pixel(layer, inspector.window(image, layer, position), image, card, path)
        elif layer:
            posters.layer_maps(layer, inspector.values(image, [layer])[layer], card, path)
        else:
            values = inspector.values(image, list(inspector.layers))
            posters.journey(list(inspector.layers.values()), values, image, card, path)
    except (KeyError, IndexError) as error:
        raise UsageError(str(error.args[0])) from None
    say(f"Wrote {path}")


def explain_answer(
    model: str, image_file: Path, /, *, label: str | None = None, output: Path | None = None, zoo: Path | None = None
) -> None:
    """Draw which parts of an image the answer depends on.

    A square is moved over the image. Red marks where the probability of the class drops.

    Args:
        model: NAME, NAME@VERSION or an ONNX file
        image_file: a PNG or JPEG file
        label: the class, or its number (default: the most probable one)
        output: the PNG file (default: NAME-why.png)
        zoo: the zoo folder (default: CNNZOO_ZOO, else zoo/ and then the models that come with cnnzoo)
    """
    from . import posters

    scorer = Scorer.open(model, zoo)
    card, session = scorer.card, scorer.session
    try:
        wanted = None if label is None else class_number(card.classes, label)
    except ValueError as error:
        raise UsageError(f"--label: {error}") from None
    output = check_png(output) or Path(f"{card.name}-why.png")
    image = read_input(image_file, card.input_shape, card.prepare)
    cover = Cover.of(max(image.shape[1:]))
    images = covered(image, cover, fill_of(image, card.prepare))
    shown = np.concatenate([image[None], images])
    probabilities = np.concatenate([session.run(shown[i : i + BATCH])[1] for i in range(0, len(shown), BATCH)])
    chosen = int(probabilities[0].argmax()) if wanted is None else wanted
    base = float(probabilities[0, chosen])
    found = drops(image, cover, probabilities[1:, chosen], base)
    posters.explanation(image, found, cover, f"{card.name}: {card.classes[chosen]}, {base:.1%}", output)
    say(f"Wrote {output}")


def _open(model: str, zoo: Path | None) -> Inspector:
    path = find_file(model, zoo)
    with naming(path):
        return Inspector(read_listed(path), threads=0)
