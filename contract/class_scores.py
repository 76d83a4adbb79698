"""Precision, recall and F1 of each class, from a confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

Counts = Sequence[Sequence[int]]
"""Number of images by true class (rows) and predicted class (columns)."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, as shares 0-1, and the number of its images. A share of nothing is 0."""

    precision: float
    recall: float
    f1: float
    images: int


def class_scores(counts: Counts) -> list[ClassScores]:
    """Return the scores of each class."""
    scores = []
    for number, row in enumerate(counts):
        correct, images, predicted = row[number], sum(row), sum(other[number] for other in counts)
        precision, recall = correct / max(1, predicted), correct / max(1, images)
        scores.append(ClassScores(precision, recall, 2 * correct / max(1, images + predicted), images))
    return scores


def balanced_accuracy(counts: Counts) -> float:
    """Return the mean recall of the classes that have images, so that each class counts the same."""
    recalls = [scores.recall for scores in class_scores(counts) if scores.images]
    return sum(recalls) / len(recalls)
