"""Batches of images in memory: one index operation a batch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of one split, indexed by a position, a slice, or a tensor of positions.

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

    def __getitem__(self, positions: int | slice | Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.indices[positions]
        return self.images[chosen], self.labels[chosen]


def evenly_spaced(most: int, count: int) -> Tensor:
    """Return at most `most` positions among `count`, evenly spaced from the first to the last."""
    return torch.linspace(0, count - 1, min(most, count)).long()


class Batches(DistributedSampler[Tensor]):
    """Sampler of whole batches: yields the positions of this device's share of each global batch.

    The global batches are formed first. Each is then dealt out over the devices, so the images of batch b are the
    same for any number of devices. Nothing is padded.

    Training: the order is a function of (seed, epoch). Drops the last partial batch; which images it holds changes
    every epoch. A split smaller than one batch is one batch.
    Evaluation: keeps the order. Each image occurs once, batch sizes differ by one at most, and no device's share of a
    batch is empty.

    Lightning calls `set_epoch` of a DistributedSampler and does not wrap it in another.

    Attributes:
        given: number of batches of this epoch that were yielded, including those before a resume.
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
        self.given = 0
        self._resume_at = (0, 0)  # epoch, and its first batch that is still to be yielded

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.size // self.batch_size)
        # With more batches than this a device would get an empty share, whose mean loss is NaN.
        most = max(1, self.size // self.num_replicas)
        return min(-(-self.size // self.batch_size), most)

    def __iter__(self) -> Iterator[Tensor]:
        epoch, first = self._resume_at
        self.given = first if epoch == self.epoch else 0
        for batch in self._global_batches()[self.given :]:
            self.given += 1
            yield torch.from_numpy(batch[self.rank :: self.num_replicas])

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch."""
        return {"epoch": self.epoch, "given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a position that `state_dict` returned."""
        self._resume_at = (state["epoch"], state["given"])

    def _global_batches(self) -> list[np.ndarray]:
        if not self.shuffle:
            return np.array_split(np.arange(self.size), len(self))
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        whole = min(self.batch_size, self.size - self.size % self.num_replicas)
        return np.split(order[: len(self) * whole], len(self))


class BatchLoader(DataLoader[tuple[Tensor, Tensor]]):
    """DataLoader without workers over `Batches`. Lightning saves its state in checkpoints."""

    def __init__(self, dataset: ImageDataset, batches: Batches, pin_memory: bool = False) -> None:
        # batch_size=None: the sampler yields whole batches.
        super().__init__(dataset, batch_size=None, sampler=batches, pin_memory=pin_memory)
        self.batches = batches

    def state_dict(self) -> dict[str, int]:
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches.load_state_dict(state)
