"""PNG plots: image sheets, confusion matrices, reliability, learning curves, heatmaps. They need no display."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..contract.class_scores import ClassScores
from .figures import draw_image, rows_of, save

MOST_CLASSES = 60  # in the plot of classes, and with a name in the confusion matrix


def captioned_images(
    images: np.ndarray, captions: Sequence[str], path: Path, title: str = "", columns: int = 5
) -> None:
    """Plot images uint8 [N, C, H, W] in rows, each with its caption below."""
    rows, columns = rows_of(len(images), columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    figure = Figure(figsize=(1.6 * columns, rows * (1.6 + 0.17 * lines) + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, image, caption in zip(axes, images, captions, strict=False):
        draw_image(ax, image)
        ax.text(0.5, -0.04, caption, transform=ax.transAxes, ha="center", va="top", fontsize=9, parse_math=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    save(figure, path)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: Path, title: str = "") -> None:
    """Plot a confusion matrix, colored by the share of the true class, so that classes of any size compare.

    Args:
        counts: [classes, classes]; rows are the true classes, columns the predicted ones.
    """
    n = len(classes)
    side = max(4.5, 0.62 * min(n, MOST_CLASSES) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    ax = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= 30:
        for i, j in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, color=color)
    if n <= MOST_CLASSES:
        ax.set_xticks(range(n), classes, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        ax.set_yticks(range(n), classes, parse_math=False)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title(title, fontsize=11, parse_math=False)
    save(figure, path)


def per_class(scores: Mapping[str, ClassScores], path: Path, title: str = "") -> None:
    """Plot precision and recall of each class, the class with the lowest F1 first; at most `MOST_CLASSES` of them."""
    shown = sorted(scores.items(), key=lambda item: item[1].f1)[:MOST_CLASSES]
    figure = Figure(figsize=(6, 1.5 + 0.32 * len(shown)), layout="constrained")
    ax = figure.subplots()
    for row, (_, found) in enumerate(shown):
        ax.plot([found.precision, found.recall], [row, row], color="0.7", zorder=1)
        ax.scatter(found.precision, row, 36, color="C0", marker="D", label="precision" if row == 0 else None)
        ax.scatter(found.recall, row, 40, color="C1", label="recall" if row == 0 else None)
    names = [f"{name} ({found.images:,})" for name, found in shown]
    ax.set_yticks(range(len(shown)), names, parse_math=False)
    ax.set(xlabel="share of the images that were called so, and of the class' own", xlim=(-0.02, 1.02))
    ax.invert_yaxis()
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")
    ax.set_title(title, fontsize=11, parse_math=False)
    save(figure, path)


def reliability(curves: Mapping[str, Sequence[tuple[float, float, int]]], path: Path, title: str = "") -> None:
    """Plot accuracy over confidence, and below it the share of the images of each confidence.

    Args:
        curves: by name, the (mean confidence, accuracy, images) of each bin of confidence.
    """
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    for number, (name, bins) in enumerate(curves.items()):
        confidence, accuracy, images = zip(*bins, strict=True)
        color, style = f"C{number}", "o--" if number == 0 and len(curves) > 1 else "o-"
        ax.plot(confidence, accuracy, style.replace("o", ""), color=color, label=name)
        ax.scatter(confidence, accuracy, 4 + 60 * np.divide(images, sum(images)), color=color)  # few images, small dot
        below.plot(confidence, np.divide(images, sum(images)), style, color=color, markersize=4)
    ax.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.04))
    below.set(xlabel="confidence", ylabel="images", ylim=(0, 1))
    for axes in (ax, below):
        axes.grid(alpha=0.3)
    ax.legend(loc="lower right")
    ax.set_title(title, fontsize=11, parse_math=False)
    save(figure, path)


def heatmap(rows: Sequence[Mapping[str, Any]], y: str, x: str, score: str, path: Path, title: str = "") -> None:
    """Plot a score (0-1 or None) over two columns of a table, with its value in each cell.

    Args:
        rows: the table. The values of an axis keep the order of the rows.
        y, x: the columns of the vertical and the horizontal axis.
        score: the column of the score.
    """
    ys, xs = (list(dict.fromkeys(row[name] for row in rows)) for name in (y, x))
    values = np.full((len(ys), len(xs)), np.nan)
    for row in rows:
        if row.get(score) is not None:
            values[ys.index(row[y]), xs.index(row[x])] = row[score]
    figure = Figure(figsize=(1.6 + 0.85 * len(xs), 1.4 + 0.7 * len(ys)), layout="constrained")
    ax = figure.subplots()
    cells = ax.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(values.shape):
        text = "failed" if np.isnan(values[i, j]) else f"{values[i, j]:.3f}"
        ax.text(j, i, text, ha="center", va="center", color="black" if values[i, j] > 0.6 else "white", fontsize=9)
    ax.set_xticks(range(len(xs)), [_tick(value) for value in xs], parse_math=False)
    ax.set_yticks(range(len(ys)), [_tick(value) for value in ys], parse_math=False)
    ax.set(xlabel=x, ylabel=y)
    ax.set_title(title, fontsize=11, parse_math=False)
    figure.colorbar(cells, ax=ax)
    save(figure, path)


def _tick(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def learning_curves(metrics_csv: Path, path: Path, title: str = "") -> None:
    """Plot accuracy and loss of training and validation over the epochs of a run's metrics.csv."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for ax, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for stage, style in (("train", "C0--"), ("val", "C1-")):
            epochs, values = read_curve(metrics_csv, f"{stage}_{metric}")
            if epochs:
                label = {"train": "training", "val": "validation"}[stage]
                marker = "o" if len(epochs) < 3 else None
                ax.plot(epochs, values, style, label=label, marker=marker)
        ax.set(xlabel="epoch", ylabel=metric)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle(title, fontsize=11, parse_math=False)
    save(figure, path)


def read_curve(metrics_csv: Path, column: str) -> tuple[list[int], list[float]]:
    """Return the epochs, counted from 1, and the values of a column of metrics.csv; empty lists if it is missing."""
    with metrics_csv.open(newline="") as file:
        rows = [(int(row["epoch"]) + 1, float(row[column])) for row in csv.DictReader(file) if row.get(column)]
    return [epoch for epoch, _ in rows], [value for _, value in rows]
