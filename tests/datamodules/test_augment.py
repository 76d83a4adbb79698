"""Test augmentation: a function of (seed, epoch, batch), the same for any number of devices."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from cnnzoo.datamodules import Augmentation

IMAGES = torch.randint(0, 256, (16, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BOTH = Augmentation(flip=True, shift=3)


def test_it_is_a_function_of_its_key():
    first = BOTH(IMAGES, (0, 1, 2), 0, 1)
    torch.manual_seed(5)
    assert torch.equal(BOTH(IMAGES, (0, 1, 2), 0, 1), first)
    for key in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not torch.equal(BOTH(IMAGES, key, 0, 1), first)


@pytest.mark.parametrize("world", [2, 4])
def test_devices_draw_together_what_one_draws_alone(world: int):
    whole = BOTH(IMAGES, (0, 0, 0), 0, 1)
    for rank in range(world):
        part = BOTH(IMAGES[rank::world], (0, 0, 0), rank, world)
        assert torch.equal(part, whole[rank::world])


def test_every_image_is_one_of_its_flips_and_shifts():
    mirrored = torch.nn.functional.pad(IMAGES.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
    out = BOTH(IMAGES, (0, 0, 0), 0, 1)
    for image, source in zip(out, mirrored, strict=True):
        candidates = [
            crop
            for dy in range(7)
            for dx in range(7)
            for window in [source[:, dy : dy + 12, dx : dx + 10]]
            for crop in (window, window.flip(2))
        ]
        assert any(torch.equal(image, candidate) for candidate in candidates)


def test_about_half_are_flipped_and_every_shift_occurs():
    image = torch.zeros(4000, 1, 7, 7, dtype=torch.uint8)
    image[:, :, 3, 3] = 255
    out = Augmentation(shift=2, fill="black")(image, (0, 0, 0), 0, 1)
    places = torch.nonzero(out)[:, 2:]
    counts = torch.zeros(7, 7).index_put_(tuple(places.T), torch.ones(len(places)), accumulate=True)
    assert (counts[1:6, 1:6] > 100).all()
    assert counts.sum() == counts[1:6, 1:6].sum() == 4000
    left = torch.zeros(4000, 1, 1, 2, dtype=torch.uint8)
    left[..., 0] = 1
    share = Augmentation(flip=True)(left, (0, 0, 0), 0, 1)[..., 1].float().mean()
    assert 0.46 < share < 0.54


def test_black_fill_uncovers_black():
    white = torch.full((200, 1, 8, 8), 255, dtype=torch.uint8)
    out = Augmentation(shift=4, fill="black")(white, (0, 0, 0), 0, 1)
    assert set(out.unique().tolist()) == {0, 255}
    assert (Augmentation(shift=4)(white, (0, 0, 0), 0, 1) == 255).all()


def test_no_augmentation_hands_the_batch_through():
    assert Augmentation()(IMAGES, (0, 0, 0), 0, 1) is IMAGES


def test_a_negative_shift_is_an_error():
    with pytest.raises(ValueError, match=r"shift is -1: expected a number of pixels from 0 up"):
        Augmentation(shift=-1)


def test_turning_and_zooming_are_what_scipy_makes_of_them():
    """Compare each image with scipy's interpolation, for the same random angle and factor."""
    out = Augmentation(rotate=20, zoom=0.2, shift=1.5, flip=True, fill="black")(IMAGES, (3, 1, 4), 0, 1)
    rng = np.random.default_rng((3, 1, 4))
    flipped = rng.random(16) < 0.5
    moved = rng.uniform(-1.5, 1.5, size=(2, 16))
    angle = np.deg2rad(rng.uniform(-20, 20, size=16))
    factor = 1 + rng.uniform(-0.2, 0.2, size=16)
    for i, image in enumerate(IMAGES.numpy()):
        source = image[:, :, ::-1] if flipped[i] else image
        turn = np.array([[np.cos(angle[i]), np.sin(angle[i])], [-np.sin(angle[i]), np.cos(angle[i])]]) / factor[i]
        centre = np.array([5.5, 4.5])
        offset = centre + moved[:, i] - turn @ centre
        for channel in range(3):
            expected = affine_transform(source[channel].astype(float), turn, offset, order=1, mode="grid-constant")
            assert np.abs(out[i, channel].numpy() - expected).max() <= 0.51


def test_a_warp_of_nothing_is_the_image():
    same = Augmentation(rotate=1e-9)(IMAGES, (0, 0, 0), 0, 1)
    assert torch.equal(same, IMAGES)


@pytest.mark.parametrize("world", [2, 4])
def test_devices_warp_together_as_one_does_alone(world: int):
    warp = Augmentation(rotate=10, zoom=0.1, shift=0.5)
    whole = warp(IMAGES, (0, 0, 0), 0, 1)
    for rank in range(world):
        assert torch.equal(warp(IMAGES[rank::world], (0, 0, 0), rank, world), whole[rank::world])


def test_cutout_blots_out_one_square_anywhere_within():
    images = IMAGES.repeat(200, 1, 1, 1)
    out = Augmentation(cutout=5)(images, (0, 0, 0), 0, 1)
    mean = images.float().mean((2, 3), keepdim=True).round()
    changed = (out != images).any(1)
    places = set()
    for i, differs in enumerate(changed):
        rows, columns = torch.nonzero(differs.any(1)).flatten(), torch.nonzero(differs.any(0)).flatten()
        assert rows.max() - rows.min() < 5
        assert columns.max() - columns.min() < 5
        assert (out[i][:, differs] == mean[i, :, :, 0]).all()
        places.add((rows.min().item(), columns.min().item()))
    assert {(0, 0), (7, 5), (0, 5), (7, 0)} <= places  # the corners of 12×10


@pytest.mark.parametrize(
    ("name", "value"), [("rotate", 181), ("zoom", 1), ("cutout", -1), ("flip", "never"), ("fill", "white")]
)
def test_senseless_arguments_are_named(name: str, value: Any):
    with pytest.raises(ValueError, match=rf"augmentation\.{name} is"):
        Augmentation(**{name: value})
