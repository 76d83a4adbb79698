"""From images in memory to the batches of an epoch, whole batches at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of one split, indexed by a position or by a whole batch of positions.

    Args:
        images: uint8 [N, C, H, W], in memory or memory-mapped.
        labels: int64 [N].
        indices: which of the N belong to this split; all by default.
    """

    def __init__(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        self.images = images
        self.labels = labels
        self.indices = torch.arange(len(labels)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: int | Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.indices[positions]
        return self.images[chosen], self.labels[chosen]


class Batches(DistributedSampler[Tensor]):
    """The positions of every batch of an epoch, as this device sees them.

    The global batches are laid out first and then each is dealt out over the devices, so the
    images of batch b are the same for any number of devices. Nothing is padded.

    Training batches come in an order that is a function of (seed, epoch), and are all full: the
    fewer than `batch_size` images left over sit out the epoch, others in each. So every step costs
    the same and every device holds the same share. A set smaller than one batch is one batch.
    Evaluation batches keep the order, hold every image exactly once and differ by one in size at most.

    It is a DistributedSampler so that Lightning calls `set_epoch` and does not wrap it in another.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)
        self.batch_size = batch_size
        self.size = len(dataset)

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.size // self.batch_size)
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self._global_batches():
            yield torch.from_numpy(batch[self.rank :: self.num_replicas])

    def _global_batches(self) -> list[np.ndarray]:
        if not self.shuffle:
            return np.array_split(np.arange(self.size), len(self))
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        whole = min(self.batch_size, self.size - self.size % self.num_replicas)
        return np.split(order[: len(self) * whole], len(self))
