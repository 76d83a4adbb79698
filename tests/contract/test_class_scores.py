"""Test precision, recall, F1 and balanced accuracy against scikit-learn."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support

from cnnzoo.contract.class_scores import balanced_accuracy, class_scores
from cnnzoo.models.metrics import classification_metrics


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_scikit_learns(seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, 60, p=[0.7, 0.2, 0.1, 0])  # no image of the last class
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 3, 60))
    counts = confusion_matrix(labels, predicted, labels=range(4)).tolist()
    expected = precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    np.testing.assert_allclose(np.array([astuple(scores) for scores in class_scores(counts)]).T, expected)
    assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(labels, predicted))
    probabilities = torch.eye(4)[predicted]
    metrics = classification_metrics(probabilities, torch.tensor(labels))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
