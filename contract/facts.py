"""A model card in words and figures: the one source for the terminal, the tables, the API and the web page.

Each of them only lays out what these functions return.
"""

from .card import ModelCard

MEGABYTE = 1_000_000
MAX_CONFUSIONS = 5  # that are shown
NOTICEABLE = 0.005  # difference of balanced accuracy and accuracy


def facts(card: ModelCard, size: int) -> dict[str, str]:
    """Return what a card says, by label and in the order to show it. A fact that the card does not state is left out.

    Args:
        size: of the file, in bytes.
    """
    channels, height, width = card.input_shape
    found = {
        "Intended use": card.intended_use,
        "Limitations": card.limitations,
        "Test accuracy": _accuracy(card),
        "Balanced accuracy": _balanced(card),
        "Corrupted": _corrupted(card),
        "Calibration": _calibration(card),
        "Unfamiliar": _unfamiliar(card),
        "Dataset": ", ".join(filter(None, (card.dataset_title, card.dataset.get("source")))),
        "Licenses": _licenses(card),
        "Input": f"{width} × {height} {'grey' if channels == 1 else 'RGB'}",
        "Classes": ", ".join(card.classes),
        "Parameters": f"{card.parameters:,}" if card.parameters else "",
        "Multiply-adds": f"{card.multiply_adds:,} an image" if card.multiply_adds else "",
        "File": f"{megabytes(size)} MB, {card.precision}",
        "Trained": _training(card),
        "Command": card.training.get("command") or card.command,
        "Exported": card.date[:10],
    }
    return {label: text for label, text in found.items() if text}


def percent(share: float | None) -> str:
    """Format a share with two decimals of a percent, or a dash for None."""
    return "–" if share is None else f"{share:.2%}"


def megabytes(size: int) -> str:
    """Format a number of bytes in megabytes, with two decimals."""
    return f"{size / MEGABYTE:.2f}"


def counted(number: int, noun: str) -> str:
    """Format a number and its noun, which takes an s unless the number is 1: 1 epoch, 20 epochs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def interval(card: ModelCard) -> str:
    """Format the 95% interval of the test accuracy, or return an empty string."""
    low, high = card.metrics.get("accuracy_low"), card.metrics.get("accuracy_high")
    return f"{low:.2%} to {high:.2%}" if low is not None and high is not None else ""


def corrupted_accuracy(card: ModelCard) -> float | None:
    """Return the mean accuracy over all corruptions and severities, or None if the card has none."""
    table = card.robustness["accuracy"] if card.robustness else {}
    return sum(map(sum, table.values())) / sum(map(len, table.values())) if table else None


def class_accuracies(card: ModelCard) -> list[tuple[str, float]]:
    """Return (class, accuracy on its test images) for each class; empty without a confusion matrix."""
    rows = zip(card.classes, card.confusion_matrix, strict=False)
    return [(name, row[number] / max(1, sum(row))) for number, (name, row) in enumerate(rows)]


def worst_confusions(card: ModelCard, count: int = MAX_CONFUSIONS) -> list[tuple[str, str, int]]:
    """Return (true class, predicted class, images) of the most frequent errors, most frequent first."""
    errors = [
        (card.classes[i], card.classes[j], n)
        for i, row in enumerate(card.confusion_matrix)
        for j, n in enumerate(row)
        if i != j and n
    ]
    return sorted(errors, key=lambda error: -error[2])[:count]


def _accuracy(card: ModelCard) -> str:
    if "accuracy" not in card.metrics:
        return ""
    between = f" (95%: {interval(card)})" if interval(card) else ""
    images = f" of {card.metrics['n']:,} images" if "n" in card.metrics else ""
    return f"{percent(card.metrics['accuracy'])}{images}{between}"


def _balanced(card: ModelCard) -> str:
    """Say the mean over the classes, where it differs from the accuracy: the classes have unequal numbers of images."""
    balanced = card.metrics.get("balanced_accuracy")
    if balanced is None or abs(balanced - card.metrics.get("accuracy", balanced)) < NOTICEABLE:
        return ""
    return f"{percent(balanced)}, the mean over the classes"


def _corrupted(card: ModelCard) -> str:
    share = corrupted_accuracy(card)
    if share is None or card.robustness is None:
        return ""
    kinds = ", ".join(name.replace("_", " ") for name in card.robustness["accuracy"])
    return f"{share:.2%} of {card.robustness['images']:,} images, mean over {kinds} at severity 1 to 5"


def _calibration(card: ModelCard) -> str:
    after, before = card.metrics.get("calibration_error"), card.metrics.get("calibration_error_before")
    if after is None:
        return ""
    at_one = f"; {before:.4f} without temperature scaling" if before is not None else ""
    return f"expected calibration error {after:.4f} at temperature {card.temperature:.3f}{at_one}"


def _unfamiliar(card: ModelCard) -> str:
    """Say which images the output `familiarity` flags at the card's threshold."""
    if card.familiarity is None:
        return ""
    others = [f"{kind} {row['flagged']:.1%}" for kind, row in card.familiarity["strangers"].items()]
    own = f"{card.familiarity['flagged']:.1%} of test images"
    return f"flags {own}; {', '.join(others)}, at familiarity below {card.familiarity['threshold']:g}"


def _licenses(card: ModelCard) -> str:
    weights, data = card.license or "not stated", card.dataset.get("license") or "not stated"
    return f"weights {weights}; data {data}"


def _training(card: ModelCard) -> str:
    training = card.training
    parts = [
        counted(training["epochs"], "epoch") if "epochs" in training else "",
        f"{training['seconds'] / 60:.1f} minutes" if "seconds" in training else "",
        training.get("hardware", ""),
        f"seed {card.seed}" if card.seed is not None else "",
        f"commit {_short_commit(training.get('commit') or '')}" if training.get("commit") else "",
    ]
    return ", ".join(filter(None, parts))


def _short_commit(commit: str) -> str:
    """Shorten a commit's hash to 12 digits, and keep the mark of changed code."""
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")
