"""Test the lecture's statements about convolution against torch's operations."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import toeplitz

coefficients = st.lists(st.integers(-9, 9), min_size=1, max_size=6)


def flipped_cross_correlation(x: list[int], w: list[int]) -> np.ndarray:
    """Convolve with torch's conv1d (a cross-correlation): flip the kernel, and pad with m - 1 zeros on both sides."""
    signal = torch.tensor(x, dtype=torch.float64)[None, None]
    kernel = torch.tensor(w, dtype=torch.float64).flip(0)[None, None]
    return F.conv1d(signal, kernel, padding=len(w) - 1)[0, 0].numpy()


@given(alpha=coefficients, beta=coefficients)
def test_convolution_is_polynomial_multiplication(alpha: list[int], beta: list[int]):
    t = np.array([-1.5, -1.0, 0.0, 0.5, 2.0])
    product = np.polyval(alpha[::-1], t) * np.polyval(beta[::-1], t)
    delta = flipped_cross_correlation(beta, alpha)
    np.testing.assert_allclose(np.polyval(delta[::-1], t), product, atol=1e-9)


@given(alpha=coefficients, beta=coefficients)
def test_convolution_is_a_toeplitz_matrix_times_a_vector_and_commutes(alpha: list[int], beta: list[int]):
    def matrix(w: list[int], n: int) -> np.ndarray:
        return toeplitz([*w, *[0] * (n - 1)], [w[0], *[0] * (n - 1)])

    expected = flipped_cross_correlation(beta, alpha)
    np.testing.assert_array_equal(matrix(alpha, len(beta)) @ beta, expected)
    np.testing.assert_array_equal(matrix(beta, len(alpha)) @ alpha, expected)


def test_the_lectures_polynomials():
    a0, a1, a2, b0, b1, b2, b3 = 2, -3, 5, 7, 11, -13, 17
    delta = flipped_cross_correlation([b0, b1, b2, b3], [a0, a1, a2])
    assert delta.tolist() == [
        a0 * b0,
        a1 * b0 + a0 * b1,
        a0 * b2 + a1 * b1 + a2 * b0,
        a1 * b2 + a2 * b1 + a0 * b3,
        a2 * b2 + a1 * b3,
        a2 * b3,
    ]


def test_3x3_input_with_2x2_filter_is_the_4x9_matrix():
    x = torch.arange(1.0, 10.0).view(3, 3)
    (w00, w01), (w10, w11) = (2.0, -3.0), (5.0, 7.0)
    matrix = torch.tensor(
        [
            [w00, w01, 0, w10, w11, 0, 0, 0, 0],
            [0, w00, w01, 0, w10, w11, 0, 0, 0],
            [0, 0, 0, w00, w01, 0, w10, w11, 0],
            [0, 0, 0, 0, w00, w01, 0, w10, w11],
        ]
    )
    w = torch.tensor([[w00, w01], [w10, w11]])
    assert torch.equal(matrix @ x.flatten(), F.conv2d(x[None, None], w[None, None]).flatten())
