"""The LightningDataModule: training shuffled and augmented, validation whole and untouched."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Sampler

from boxwright.data import DataFolder
from boxwright.data.augment import Augmentation
from boxwright.data.dataset import PictureDataset, Sample, collate
from boxwright.runtime import InputSpec

__all__ = ["DetectionData", "EpochSampler"]


class EpochSampler(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees what it would have.

    Args:
        dataset: told of each epoch, for its augmentations.
        seed: of the run.
    """

    def __init__(self, dataset: PictureDataset, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._dataset)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch
        self._dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._dataset))
        return iter(order.tolist())


class DetectionData(L.LightningDataModule):
    """Loaders of a data folder.

    Args:
        folder: checked records.
        spec: the canvas.
        recipe: augmentation of the training split.
        batch_size: pictures a training step; validation runs singly, as serving does.
        workers: processes of each loader.
        seed: of order and augmentation.
    """

    def __init__(
        self, folder: DataFolder, spec: InputSpec, recipe: str, batch_size: int, workers: int, seed: int
    ) -> None:
        super().__init__()
        self._train = PictureDataset(folder.splits["train"], spec, Augmentation(recipe, spec), seed)
        self._valid = PictureDataset(folder.splits["valid"], spec)
        self._batch_size = batch_size
        self._workers = workers
        self._seed = seed

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled and augmented batches; the last may be smaller."""
        sampler = EpochSampler(self._train, self._seed)
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.current_epoch)
        return self._loader(self._train, self._batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every picture once, singly, in order."""
        return self._loader(self._valid, 1, None)

    def _loader(self, dataset: PictureDataset, batch_size: int, sampler: EpochSampler | None) -> DataLoader[Sample]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self._workers,
            collate_fn=collate,
            persistent_workers=self._workers > 0,
            pin_memory=on_gpu,
        )
