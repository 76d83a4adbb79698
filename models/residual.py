"""`Residual`: layers whose input is added to their output."""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Sequential):
    """Layers whose input is added to their output (He et al., arXiv 1512.03385).

    If the first layer is a convolution with a stride, or the output has more channels, the input is subsampled and
    padded with channels of zeros: the paper's option A, which has no parameters.
    """

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        stride = self[0].stride[0] if isinstance(self[0], nn.Conv2d) else 1
        if stride > 1:
            x = x[:, :, ::stride, ::stride]
        if change.shape[1] > x.shape[1]:
            x = F.pad(x, (0, 0, 0, 0, 0, change.shape[1] - x.shape[1]))
        return x + change
