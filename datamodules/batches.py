"""From images in memory to the batches of an epoch, whole batches at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
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
        self._given = 0  # batches of this epoch given out so far
        self._resume_at = (0, 0)  # (epoch, batch) that the next pass starts from, if it is that epoch's

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.size // self.batch_size)
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        epoch, first = self._resume_at
        first = first if epoch == self.epoch else 0
        self._given = first
        for batch in self._global_batches()[first:]:
            self._given += 1
            yield torch.from_numpy(batch[self.rank :: self.num_replicas])

    def state_dict(self) -> dict[str, int]:
        """How far the epoch has come."""
        return {"epoch": self.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on in that epoch from there."""
        self._resume_at = (state["epoch"], state["given"])

    def _global_batches(self) -> list[np.ndarray]:
        if not self.shuffle:
            return np.array_split(np.arange(self.size), len(self))
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        whole = min(self.batch_size, self.size - self.size % self.num_replicas)
        return np.split(order[: len(self) * whole], len(self))


class BatchLoader(DataLoader[tuple[Tensor, Tensor]]):
    """A DataLoader without workers over `Batches`; Lightning keeps its state in checkpoints."""

    def __init__(self, dataset: ImageDataset, batches: Batches, pin_memory: bool = False) -> None:
        # batch_size=None: the sampler already names whole batches, the dataset answers with one.
        super().__init__(dataset, batch_size=None, sampler=batches, pin_memory=pin_memory)
        self.batches = batches

    def state_dict(self) -> dict[str, int]:
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.load_state_dict(state)
