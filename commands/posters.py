"""PNG posters of the inside of a network, with Matplotlib. They need no torch and no display."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..contract.card import ModelCard
from ..contract.layers import Layer, arithmetic
from ..serve.drawing import full_color
from ..serve.inspector import Window
from ..serve.occlusion import Cover
from .figures import draw_image, rows_of, save
from .scoring import top_classes

STRIP = 12  # maps in a row of the journey
NUMBERS = 64  # numbers in a row, of a layer without height and width
PAPER = "#c9d6e3"  # between maps: neither black nor white
LONG = 16  # layers of a journey, beyond which only the first convolution and KEPT are drawn
KEPT = ("pixels", "pool", "add", "mean", "dense", "softmax")  # of a long journey, with the first convolution
SHEET = 12  # maps in a row of a sheet
GREY = colormaps["gray"].with_extremes(bad=PAPER)  # NaN is drawn as paper


def journey(
    layers: Sequence[Layer], values: dict[str, np.ndarray], image: np.ndarray, card: ModelCard, path: Path
) -> None:
    """Draw a row for each layer: its volume, its arithmetic, and its first maps on one scale."""
    by_name = {layer.name: layer for layer in layers}
    rows = [layer for layer in layers if len(layers) <= LONG or layer.name == "conv1" or layer.name.startswith(KEPT)]
    figure = Figure(figsize=(13.3, 0.9 + 0.72 * (len(rows) + 1)), layout="constrained")
    some = "" if len(rows) == len(layers) else f" ({len(rows)} of {len(layers)} layers)"
    figure.suptitle(f"{card.name}, version {card.version}: from the pixels to the answer{some}", parse_math=False)
    grid = figure.subplots(len(rows) + 1, 2, width_ratios=(1, 2.6), squeeze=False)
    channels, height, width = image.shape
    _caption(grid[0][0], "image", f"{width} × {height} × {channels}", "")
    draw_image(grid[0][1], image)
    for layer, (left, right) in zip(rows, grid[1:], strict=True):
        depth, height, width = layer.volume
        numbers = [f"{layer.parameters:,} parameters"] if layer.parameters else []
        numbers += [arithmetic(layer, by_name[source]) for source in layer.sources[:1]]
        _caption(left, layer.name, f"{width} × {height} × {depth}", "   ".join(numbers))
        if layer.name == "softmax":
            _bars(right, values[layer.name].ravel(), card.classes)
        else:
            _strip(right, values[layer.name])
    save(figure, path)


def layer_maps(name: str, maps: np.ndarray, card: ModelCard, path: Path) -> None:
    """Draw all maps of a layer [depth, height, width] on one scale, with the scale beside them."""
    title = f"{card.name}: {name}, {len(maps)} {'numbers' if maps[0].size == 1 else 'maps'}"
    if maps[0].size == 1:
        return _vector(maps.ravel(), title, path)
    low, high = float(maps.min()), float(maps.max())
    figure, panels = _numbered(len(maps), title)
    for ax, part in zip(panels, maps, strict=False):
        shown = ax.imshow(part, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    figure.colorbar(shown, ax=panels, shrink=0.8, pad=0.01)
    save(figure, path)


def filters(kernels: np.ndarray, card: ModelCard, path: Path) -> None:
    """Draw the filters [K, depth, height, width] of the first convolution, each on a scale of its own.

    In color if they see three channels, otherwise the mean over the channels.
    """
    figure, panels = _numbered(len(kernels), f"{card.name}: {len(kernels)} filters of the first convolution")
    for ax, kernel in zip(panels, kernels, strict=False):
        shown = kernel.transpose(1, 2, 0) if len(kernel) == 3 else kernel.mean(0)
        ax.imshow((shown - shown.min()) / (np.ptp(shown) or 1), cmap="gray", interpolation="nearest")
    save(figure, path)


def _numbered(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure, and its panels: so many, and the empty rest of the last row."""
    rows, columns = rows_of(count, SHEET)
    figure = Figure(figsize=(1 + columns, 0.8 + 1.15 * rows), layout="constrained", facecolor=PAPER)
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for number, ax in enumerate(panels):
        ax.axis("off")
        if number < count:
            ax.set_title(str(number), fontsize=7, pad=2)
    return figure, panels


def _vector(values: np.ndarray, title: str, path: Path) -> None:
    """Draw numbers in rows, with the scale beside them."""
    rows = -(-len(values) // NUMBERS)
    figure = Figure(figsize=(11, 1.4 + 0.16 * rows), layout="constrained", facecolor=PAPER)
    figure.suptitle(title, parse_math=False)
    ax = figure.subplots()
    _barcode(ax, values)
    ax.set_yticks(range(rows), [str(NUMBERS * row) for row in range(rows)], fontsize=6)
    figure.colorbar(ax.images[0], ax=ax, pad=0.01)
    save(figure, path)


def _barcode(ax: Axes, values: np.ndarray) -> None:
    """Draw numbers as cells on one scale, NUMBERS in a row."""
    columns = min(NUMBERS, len(values))
    cells = np.full((-(-len(values) // columns), columns), np.nan)
    cells.ravel()[: len(values)] = values
    ax.imshow(cells, cmap=GREY, aspect="auto", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])


def pixel(name: str, window: Window, image: np.ndarray, card: ModelCard, path: Path) -> None:
    """Draw where one value comes from: its field on the image, the patch, the kernel, the products and their sum."""
    which, row, column = window.position
    parts = [("patch", window.patch)]
    if window.kernel is not None:
        parts += [("kernel", window.kernel), ("products", window.patch * window.kernel)]
    strongest = int(np.abs(parts[-1][1]).max((1, 2)).argmax())  # the channel that is shown in numbers
    figure = Figure(figsize=(3.3 * (1 + len(parts)), 4), layout="constrained")
    figure.suptitle(f"{card.name}: {name}, map {which}, row {row}, column {column}", parse_math=False)
    first, *axes = figure.subplots(1, 1 + len(parts))
    draw_image(first, image)
    top, left, bottom, right = window.field
    box = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="tab:red", linewidth=2)
    first.add_patch(box)
    first.set_title("the pixels that it depends on", fontsize=9)
    for ax, (title, values) in zip(axes, parts, strict=True):
        channel = f", channel {strongest} of {len(values)}" if len(values) > 1 else ""
        _numbers(ax, values[strongest], f"{title}{channel}")
    if window.kernel is not None:
        products = float(parts[-1][1].sum())
        text = f"sum of all products {products:.4f} + bias {window.bias:.4f} = {window.value:.4f}"
    else:
        text = f"the largest: {window.value:.4f}"
    figure.supxlabel(text, fontsize=11)
    save(figure, path)


def explanation(image: np.ndarray, drops: np.ndarray, cover: Cover, title: str, path: Path) -> None:
    """Draw an image beside the map of drops over it, with the scale."""
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    figure.suptitle(title, parse_math=False)
    plain, mapped = figure.subplots(1, 2)
    draw_image(plain, image)
    draw_image(mapped, np.repeat(image.mean(0, keepdims=True), 3, 0).round().astype(np.uint8))
    most = full_color(drops)
    _, height, width = image.shape
    rows, columns = drops.shape  # each stands for `stride` pixels; the last ones may reach past the border
    extent = (-0.5, columns * cover.stride - 0.5, rows * cover.stride - 0.5, -0.5)
    shown = mapped.imshow(
        drops, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.65, extent=extent, interpolation="bilinear"
    )
    mapped.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    figure.colorbar(shown, ax=mapped, label="drop of the probability", shrink=0.85)
    save(figure, path)


def _caption(ax: Axes, name: str, volume: str, text: str) -> None:
    ax.axis("off")
    ax.text(0, 0.68, f"{name}   {volume}", fontsize=11, transform=ax.transAxes, va="center", fontweight="bold")
    ax.text(0, 0.22, text, fontsize=8, transform=ax.transAxes, va="center", color="0.35")


def _strip(ax: Axes, maps: np.ndarray) -> None:
    """Draw the first maps side by side; a vector in rows."""
    depth, height, width = maps.shape
    low, high = float(maps.min()), float(maps.max())
    if height == width == 1:
        _barcode(ax, maps.ravel())
    else:
        ax.axis("off")
        shown = [np.pad(part, ((0, 0), (0, max(1, width // 8))), constant_values=np.nan) for part in maps[:STRIP]]
        ax.imshow(np.concatenate(shown, 1), cmap=GREY, vmin=low, vmax=high, interpolation="nearest")
    more = f", and {depth - STRIP} more maps" if depth > STRIP and height * width > 1 else ""
    ax.set_title(f"{low:.2f} (black) to {high:.2f} (white){more}", fontsize=6, loc="left", pad=2, color="0.35")


def _bars(ax: Axes, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """Draw the probabilities of all classes, or of the most probable ones if there are many."""
    best = sorted(top_classes(probabilities, STRIP))
    ax.bar(range(len(best)), probabilities[best], color="tab:blue")
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    labels = [f"{classes[c]}\n{probabilities[c]:.1%}" for c in best]
    ax.set_xticks(range(len(best)), labels, fontsize=7, parse_math=False)
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)


def _numbers(ax: Axes, values: np.ndarray, title: str) -> None:
    """Draw a small matrix in grey, with each number in its cell."""
    shown = np.where(np.isfinite(values), values, np.nan)
    ax.imshow(shown, cmap="gray", interpolation="nearest")
    middle = (np.nanmin(shown) + np.nanmax(shown)) / 2
    for (y, x), value in np.ndenumerate(shown):
        text = f"{value:.2f}".replace("-0.00", "0.00")
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color="black" if value > middle else "white")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=9)
