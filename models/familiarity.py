"""Familiarity: the share of held-out images that look stranger to a network than an image.

An image is strange if its texture, or the means and standard deviations of a layer's channels, are far from those of
training images, by their Mahalanobis distance (Lee et al., arXiv 1807.03888, take class means and no deviations), or
if its energy -log Σ exp(logits) is high (Liu et al., arXiv 2010.03759). The texture does not depend on the network: one
that is trained on noisy images no longer sees fine structure.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHRINKAGE = 0.1  # of the correlations towards none: directions of little variance count less
TAIL = 0.1  # below this familiarity, the steps are spaced geometrically
STEPS = 128
SMALLEST = 1e-6
# Where images differ less than this, rounding would decide.
LEAST_TEXTURE = 2e-4  # standard deviation of a frequency's strength
LEAST_SPREAD = 0.05  # standard deviation of the logarithm of a distance, or of the energy
STEEPEST = 2.0  # change of familiarity, a standard deviation of strangeness
# A distance counts from MARGIN standard deviations above its mean, and then SLOPE times as much as the energy. So it
# decides about noise and other datasets, and leaves unknown classes of the same dataset to the energy.
MARGIN = 1.5
SLOPE = 2
BLOCK = 4  # pixels along the side of the squares whose frequencies are the texture
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, 0.0, -1 / 2), (-1 / 4, 1 / 2, -1 / 4))  # grey, red to blue, green to magenta

Reading = tuple[list[Tensor], Tensor]
"""Statistics [N, d] of the texture and of some layers, and logits [N, classes]."""


class Familiarity(nn.Module):
    """Maps channel statistics and logits to familiarities, float32 [N], from 0 to 1.

    Args:
        sizes: numbers of statistics, one a layer.
        steps: of the distribution of held-out images, which is linear between them.
    """

    center: Tensor
    spread: Tensor
    upper: Tensor
    width: Tensor
    share: Tensor

    def __init__(self, sizes: Sequence[int], steps: int = STEPS) -> None:
        super().__init__()
        for number, size in enumerate(sizes):
            self._buffer(f"mean{number}", torch.zeros(size))
            self._buffer(f"whitening{number}", torch.eye(size))
        self._buffer("center", torch.zeros(len(sizes) + 1))
        self._buffer("spread", torch.ones(len(sizes) + 1))
        # Of each step: its highest strangeness, its width, and the share of held-out images in it.
        self._buffer("upper", torch.ones(steps))
        self._buffer("width", torch.ones(steps))
        self._buffer("share", torch.full((steps,), 1 / steps))

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)  # not in checkpoints: it is fitted at export

    def forward(self, statistics: Sequence[Tensor], logits: Tensor) -> Tensor:
        above = self.upper - self.standardized(statistics, logits).amax(1, keepdim=True)
        return ((above / self.width).clamp(0.0, 1.0) * self.share).sum(1).clamp_max(1.0)

    def strangeness(self, statistics: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Return the largest of the layers' distances and the energy, [N], standardized on held-out images."""
        return self.standardized(statistics, logits).amax(1)

    def standardized(self, statistics: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Return the logarithm of each layer's distance, and the energy, [N, layers + 1], standardized."""
        return (self._raw(statistics, logits) - self.center) / self.spread

    def _raw(self, statistics: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Return the logarithm of each layer's distance, and the energy, [N, layers + 1]."""
        found = []
        for number, values in enumerate(statistics):
            centered = values - self.get_buffer(f"mean{number}")
            distance = (centered @ self.get_buffer(f"whitening{number}")).norm(dim=1, keepdim=True)
            found.append(distance.clamp_min(SMALLEST).log())
        return torch.cat([*found, -logits.logsumexp(1, keepdim=True)], dim=1)

    @classmethod
    @torch.no_grad()
    def fit(cls, train: Reading, held_out: Reading) -> "Familiarity":
        """Return it fitted: the layers' distances on training images, the distribution on held-out images."""
        fitted = cls([values.shape[1] for values in train[0]])
        for number, values in enumerate(train[0]):
            fitted.get_buffer(f"mean{number}").copy_(values.double().mean(0))
            least = LEAST_TEXTURE if number == 0 else SMALLEST
            fitted.get_buffer(f"whitening{number}").copy_(_whitening(values.double(), least))
        raw = fitted._raw(*held_out).double()
        fitted.center.copy_(raw.mean(0))
        fitted.spread.copy_(raw.std(0).clamp_min(LEAST_SPREAD))
        fitted.center[:-1] += MARGIN * fitted.spread[:-1]
        fitted.spread[:-1] /= SLOPE
        tail = torch.logspace(math.log10(TAIL / 100), math.log10(TAIL), STEPS // 4, dtype=torch.double)
        rest = torch.linspace(TAIL, 1, STEPS - len(tail) + 1, dtype=torch.double)[1:]
        levels = torch.cat([torch.zeros(1), tail, rest]).flip(0).double()  # familiarity at the ends of the steps
        knots = apart(fitted.strangeness(*held_out).double().quantile(1 - levels), levels)
        fitted.upper.copy_(knots[1:])
        fitted.width.copy_(knots.diff())
        fitted.share.copy_(-levels.diff())
        return fitted

    @classmethod
    def restore(cls, buffers: Mapping[str, Tensor]) -> "Familiarity":
        """Return it with the buffers of an exported file, by name. Raises ValueError if some are missing or wrong."""
        means = {name.removeprefix("mean"): value.numel() for name, value in buffers.items()}
        sizes = {int(number): size for number, size in means.items() if number.isdecimal()}
        steps = buffers["upper"].numel() if "upper" in buffers else STEPS
        with torch.device("meta"):  # nothing is allocated by the sizes that a damaged file claims
            restored = cls([sizes[number] for number in sorted(sizes)], max(1, steps))
        own = dict(restored.named_buffers())
        if wrong := [name for name in own if name not in buffers or buffers[name].shape != own[name].shape]:
            raise ValueError(f"the file's familiarity is damaged: {', '.join(wrong)} missing or of a wrong shape")
        restored.to_empty(device="cpu")
        for name, value in restored.named_buffers():
            value.copy_(buffers[name])
        return restored


def apart(knots: Tensor, levels: Tensor) -> Tensor:
    """Return ascending knots that are moved, both ways, so that familiarity is nowhere steeper than STEEPEST.

    Args:
        knots: strangeness of held-out images, float64 [steps + 1].
        levels: familiarity at the knots, from 1 down to 0, float64 [steps + 1].
    """
    least = (1 - levels) / STEEPEST
    above = (knots - least).cummax(0).values
    below = (knots - least).flip(0).cummin(0).values.flip(0)
    return (above + below) / 2 + least


def channel_statistics(volume: Tensor) -> Tensor:
    """Return the mean and the standard deviation of each channel, [N, 2C], of a volume [N, C, H, W]."""
    # Unlike a mean over axes, pooling stays in the memory layout that ONNX Runtime uses between convolutions.
    _, channels, *size = volume.shape
    mean, mean_square = (F.avg_pool2d(x, size).view(-1, channels) for x in (volume, volume * volume))
    return _mean_and_deviation(mean, mean_square)


def texture(images: Tensor) -> Tensor:
    """Return the mean and the standard deviation of the strength of each frequency, [N, 2·C·16], of raw images.

    A frequency is a coefficient of the discrete cosine transform of 4×4 pixels, as JPEG has them of 8×8, in grey and
    two opponent colors. The squares overlap by half.
    """
    _, channels, height, width = images.shape
    size = min(BLOCK, height, width)
    colors = torch.tensor(OPPONENT) if channels == len(OPPONENT) else torch.eye(channels)
    waves = torch.einsum("kc,wyx->kwcyx", colors, _cosines(size)).flatten(0, 1).to(images.device)
    strengths = F.conv2d(images.float() / 255, waves, -waves.sum((1, 2, 3)) / 2, stride=max(1, size // 2)).abs()
    return _mean_and_deviation(strengths.mean((2, 3)), (strengths * strengths).mean((2, 3)))


def _mean_and_deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    return torch.cat([mean, (mean_square - mean * mean).clamp_min(SMALLEST**2).sqrt()], dim=1)


def _cosines(size: int) -> Tensor:
    """Return the waves of the discrete cosine transform, [size², size, size], each of length 1."""
    at = (torch.arange(size, dtype=torch.double) + 0.5) * math.pi / size
    waves = torch.cos(at * torch.arange(size, dtype=torch.double)[:, None])
    waves /= waves.norm(dim=1, keepdim=True)
    return torch.einsum("uy,vx->uvyx", waves, waves).reshape(-1, size, size).float()


def _whitening(values: Tensor, least: float) -> Tensor:
    """Return the matrix [d, d] by which centered values [N, d] become uncorrelated, with variance 1 or less.

    Args:
        least: deviation that a column is taken to have at least.
    """
    deviation = values.std(0)
    deviation = deviation.clamp_min(least + deviation.mean() / 1000)  # of a channel that is never active
    standard = (values - values.mean(0)) / deviation
    correlations = standard.T @ standard / len(values)
    shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * torch.eye(len(deviation), dtype=values.dtype)
    root: Tensor = torch.linalg.cholesky(torch.linalg.inv(shrunk))
    return root / deviation[:, None]
