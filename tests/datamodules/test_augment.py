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


def test_a_crop_is_what_scipy_makes_of_a_random_part():
    out = Augmentation(crop=0.3)(IMAGES, (3, 1, 4), 0, 1)
    rng = np.random.default_rng((3, 1, 4))
    for unused in (16, 32, 16, 16):  # flip, shift, rotation, zoom
        rng.random(unused)
    area, proportions = rng.uniform(0.3, 1, 16), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 16))
    height, width = np.sqrt(area / proportions).clip(max=1), np.sqrt(area * proportions).clip(max=1)
    corner = rng.uniform(-0.5, 0.5, (2, 16))
    for i, image in enumerate(IMAGES.numpy()):
        top, left = (0.5 + corner[:, i]) * (12 * (1 - height[i]), 10 * (1 - width[i]))
        offset = (top + height[i] / 2 - 0.5, left + width[i] / 2 - 0.5)  # of the first pixel's center
        for channel in range(3):
            expected = affine_transform(
                image[channel].astype(float), (height[i], width[i]), offset, order=1, mode="mirror"
            )
            assert np.abs(out[i, channel].numpy() - expected).max() <= 0.51


def test_saturation_changes_the_distance_to_grey_alone():
    dull = (IMAGES // 4 + 96).float()
    out = Augmentation(saturation=0.8)(dull.to(torch.uint8), (0, 0, 0), 0, 1).float()
    grey = dull.mean(1, keepdim=True)
    torch.testing.assert_close(out.mean(1, keepdim=True), grey, atol=0.5, rtol=0)
    factor = ((out - grey) * (dull - grey)).sum((1, 2, 3)) / (dull - grey).square().sum((1, 2, 3))
    assert 0.2 <= factor.min() < 0.7 < 1.3 < factor.max() <= 1.8
    for image, before, middle, share in zip(out, dull, grey, factor, strict=True):
        torch.testing.assert_close(image, middle + (before - middle) * share, atol=0.6, rtol=0)


def test_a_warp_of_nothing_is_the_image():
    same = Augmentation(rotate=1e-9)(IMAGES, (0, 0, 0), 0, 1)
    assert torch.equal(same, IMAGES)


@pytest.mark.parametrize("world", [2, 4])
def test_devices_warp_together_as_one_does_alone(world: int):
    warp = Augmentation(rotate=10, zoom=0.1, shift=0.5, crop=0.5, saturation=0.3)
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
    ("name", "value"),
    [
        ("rotate", 181),
        ("zoom", 1),
        ("cutout", -1),
        ("flip", "never"),
        ("fill", "white"),
        ("noise", 2),
        ("augmix", 11),
        ("crop", 2),
        ("saturation", -1),
    ],
)
def test_senseless_arguments_are_named(name: str, value: Any):
    with pytest.raises(ValueError, match=rf"augmentation\.{name} is"):
        Augmentation(**{name: value})


PIXELS = [
    Augmentation(brightness=0.2, contrast=0.4),
    Augmentation(noise=0.2),
    Augmentation(noise=0.2, noise_patch=4),
    Augmentation(augmix=3),
]


@pytest.mark.parametrize("change", PIXELS, ids=["jitter", "noise", "patch", "augmix"])
def test_changes_of_pixels_are_functions_of_the_key_for_any_number_of_devices(change: Augmentation):
    whole = change(IMAGES, (0, 0, 0), 0, 1)
    torch.manual_seed(7)
    assert torch.equal(change(IMAGES, (0, 0, 0), 0, 1), whole)
    for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(change(IMAGES, key, 0, 1), whole)
    for world in (2, 4):
        for rank in range(world):
            assert torch.equal(change(IMAGES[rank::world], (0, 0, 0), rank, world), whole[rank::world])


def test_noise_is_on_half_of_the_images_with_every_sigma_up_to_the_largest():
    flat = torch.full((2000, 1, 16, 16), 128, dtype=torch.uint8)
    spread = Augmentation(noise=0.2)(flat, (0, 0, 0), 0, 1).float().std((1, 2, 3))
    assert (spread == 0).float().mean() == pytest.approx(0.5, abs=0.04)
    noisy = spread[spread > 0] / 255
    assert noisy.max() < 0.22
    assert noisy.mean() == pytest.approx(0.1, abs=0.01)


def test_a_patch_of_noise_is_a_square():
    flat = torch.full((200, 1, 20, 20), 128, dtype=torch.uint8)
    changed = Augmentation(noise=0.2, noise_patch=6)(flat, (0, 0, 0), 0, 1)[:, 0] != 128
    for image in changed[changed.any((1, 2))]:
        rows, columns = torch.nonzero(image.any(1)).flatten(), torch.nonzero(image.any(0)).flatten()
        assert rows.max() - rows.min() < 6
        assert columns.max() - columns.min() < 6


def test_jitter_changes_mean_and_contrast_within_their_limits():
    grey = torch.randint(110, 146, (2000, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    after = Augmentation(brightness=0.2, contrast=0.5)(grey, (0, 0, 0), 0, 1).float()
    moved = (after.mean((1, 2, 3)) - grey.float().mean((1, 2, 3))) / 255
    factor = after.std((1, 2, 3)) / grey.float().std((1, 2, 3))
    assert -0.202 < moved.min() < -0.18
    assert 0.18 < moved.max() < 0.202
    assert 0.48 < factor.min() < 0.55
    assert 1.45 < factor.max() < 1.52


def test_augmix_changes_half_of_the_images_and_keeps_a_flat_one():
    many = IMAGES.repeat(50, 1, 1, 1)
    after = Augmentation(augmix=3)(many, (0, 0, 0), 0, 1)
    changed = (after != many).any((1, 2, 3)).float().mean()
    assert 0.4 < changed < 0.6
    black = torch.zeros(100, 3, 8, 8, dtype=torch.uint8)
    assert torch.equal(Augmentation(augmix=3)(black, (0, 0, 0), 0, 1), black)
