"""Test temperatures on data whose temperature is known."""

import pytest
import torch

from cnnzoo.models.calibration import fit_temperature, reliability
from cnnzoo.models.metrics import classification_metrics, confusions, wilson


def drawn(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and labels drawn from their softmax: perfectly calibrated."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, 5, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("sharpened", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_was_done(sharpened: float):
    logits, labels = drawn(50_000)
    temperature = fit_temperature(logits * sharpened, labels)
    assert temperature == pytest.approx(sharpened, rel=0.03)
    others, their_labels = drawn(50_000, seed=1)
    calibrated = (others * sharpened / temperature).softmax(1)
    assert classification_metrics(calibrated, their_labels)["calibration_error"] < 0.01


def test_nobody_is_sure_of_everything_after_a_few_right_answers():
    logits = torch.eye(5).repeat(20, 1)
    temperature = fit_temperature(logits, logits.argmax(1))
    assert (logits / temperature).softmax(1).max(1).values.mean().item() == pytest.approx(100.5 / 101, abs=1e-4)


def test_the_temperature_stays_within_bounds():
    assert 0.01 <= fit_temperature(torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64)) <= 100  # nothing to scale
    assert fit_temperature(torch.eye(3), torch.tensor([1, 2, 0])) == pytest.approx(100, rel=1e-4)  # always wrong
    assert fit_temperature(torch.tensor([[2000.0, 0.0]] * 8), torch.zeros(8, dtype=torch.int64)) == 100
    with pytest.raises(ValueError, match="not all finite"):
        fit_temperature(torch.tensor([[float("nan"), 0.0]] * 8), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(ValueError, match="there are no held-out images"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_reliability_counts_every_image_once():
    logits, labels = drawn(1000)
    bins = reliability(logits.softmax(1), labels)
    assert sum(images for _, _, images in bins) == 1000
    assert bins == sorted(bins)
    error = sum(abs(confidence - accuracy) * images for confidence, accuracy, images in bins) / 1000
    assert error == pytest.approx(classification_metrics(logits.softmax(1), labels)["calibration_error"], abs=1e-6)


def test_wilsons_interval_is_the_published_one():
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for correct, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(correct, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_confusions_have_the_truth_in_rows():
    assert confusions(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2) == [[1, 1], [0, 1]]
