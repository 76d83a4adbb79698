"""Test order and sharding for any dataset size, batch size and number of devices."""

import numpy as np
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cnnzoo.datamodules.batches import Batches, ImageDataset

sizes = st.integers(1, 300)
batch_sizes = st.sampled_from([4, 8, 12, 64])
worlds = st.sampled_from([1, 2, 4])


def dataset(n: int) -> ImageDataset:
    images = torch.arange(n, dtype=torch.int64).view(n, 1, 1, 1)
    return ImageDataset(images, torch.arange(n))


def epoch(n: int, batch: int, shuffle: bool, world: int, seed: int = 0, epoch: int = 0) -> list[list[np.ndarray]]:
    """Return the batches of every rank."""
    out = []
    for rank in range(world):
        batches = Batches(dataset(n), batch, shuffle, seed, rank, world)
        batches.set_epoch(epoch)
        out.append([b.numpy() for b in batches])
        assert len(batches) == len(out[-1])
    return out


@given(n=sizes, batch=batch_sizes, world=worlds)
def test_evaluation_holds_every_image_once_and_every_rank_steps_alike(n: int, batch: int, world: int):
    ranks = epoch(n, batch, False, world)
    assert sorted(np.concatenate([b for rank in ranks for b in rank])) == list(range(n))
    assert len({len(rank) for rank in ranks}) == 1


@given(n=sizes, batch=st.integers(1, 12), world=worlds)
@example(n=5, batch=4, world=4)
def test_no_device_gets_an_empty_evaluation_batch(n: int, batch: int, world: int):
    """The mean loss of an empty batch is NaN."""
    assume(n >= world)
    ranks = epoch(n, batch, False, world)
    assert sorted(np.concatenate([b for rank in ranks for b in rank])) == list(range(n))
    sizes = [len(b) for rank in ranks for b in rank]
    assert min(sizes) >= 1
    assert max(sizes) <= max(-(-batch // world), 2)


@given(n=sizes, batch=batch_sizes, world=worlds)
def test_training_batches_are_full_even_and_distinct(n: int, batch: int, world: int):
    assume(n >= world)
    ranks = epoch(n, batch, True, world)
    seen = np.concatenate([b for rank in ranks for b in rank])
    assert len(set(seen)) == len(seen)
    expected = batch if n >= batch else n - n % world
    assert {len(b) for rank in ranks for b in rank} == {expected // world}
    assert len(seen) > n - max(batch, world)


@given(n=st.integers(8, 300), batch=batch_sizes, world=worlds, e=st.integers(0, 5))
def test_the_global_batch_is_the_same_for_any_number_of_devices(n: int, batch: int, world: int, e: int):
    assume(n >= batch)
    single = epoch(n, batch, True, 1, epoch=e)[0]
    several = epoch(n, batch, True, world, epoch=e)
    for number, whole in enumerate(single):
        assert sorted(whole) == sorted(np.concatenate([rank[number] for rank in several]))


def test_order_is_a_function_of_seed_and_epoch():
    def order(**kwargs):
        return np.concatenate(epoch(100, 10, True, 1, **kwargs)[0]).tolist()

    first = order(seed=1, epoch=3)
    torch.manual_seed(99)
    assert order(seed=1, epoch=3) == first
    assert order(seed=1, epoch=4) != first
    assert order(seed=2, epoch=3) != first


def test_the_images_left_out_change_from_epoch_to_epoch():
    left_out = [frozenset(range(50)) - set(np.concatenate(epoch(50, 16, True, 1, epoch=e)[0])) for e in range(20)]
    assert all(len(left) == 2 for left in left_out)
    assert len(set(left_out)) > 10
