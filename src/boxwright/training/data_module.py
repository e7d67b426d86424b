"""The LightningDataModule: training shuffled and augmented, validation whole and untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Sampler

from boxwright.data import DataFolder, PictureRecord
from boxwright.data.augment import Augmentation
from boxwright.data.cache import CanvasCache, cache_place, content_digests, disk_cache, mib, ram_cache, require_calls
from boxwright.data.dataset import PictureDataset, Sample, collate
from boxwright.data.workers import BatchMemory, LoaderContext, ready_worker
from boxwright.runtime import InputSpec

__all__ = ["DetectionData", "EpochSampler", "open_caches"]

_AHEAD = 2  # batches that each process may be ahead
_SLOTS = _AHEAD + 2  # and those that the training step holds


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


def open_caches(
    kind: str,
    setting: Path | None,
    folder: DataFolder,
    spec: InputSpec,
    say: Callable[[str], object],
) -> dict[str, CanvasCache]:
    """Caches of the splits that training reads; close them at its end.

    Args:
        kind: ``off``, ``ram`` or ``disk``.
        setting: ``cache_dir``.
        folder: checked records.
        spec: the canvas.
        say: gets one sentence a cache: where, how large, how full.

    Raises:
        ConfigError: no room, a folder that cannot be written to, or a system without the calls (Windows).
        DataError: a picture cannot be read.
    """
    if kind == "off":
        return {}
    require_calls(kind)
    caches: dict[str, CanvasCache] = {}
    for name in ("train", "valid"):
        known = _digests(folder.splits[name].pictures)
        place = cache_place(setting)
        cache = ram_cache(known, spec) if kind == "ram" else disk_cache(place, folder.root, name, known, spec)
        where = "memory" if kind == "ram" else place
        say(f"Cache of {name}: {mib(cache.size)} MiB in {where}; {cache.filled} of {len(cache)} pictures are in it.")
        caches[name] = cache
    return caches


def _digests(records: Sequence[PictureRecord]) -> list[bytes]:
    """SHA-256 of each picture's file: the data check's, where it read the whole files."""
    known = [record.digest for record in records if record.digest is not None]
    return known if len(known) == len(records) else content_digests([record.path for record in records])


class DetectionData(L.LightningDataModule):
    """Loaders of a data folder.

    Args:
        folder: checked records.
        spec: the canvas.
        recipe: augmentation of the training split.
        batch_size: pictures a training step; validation runs singly, as serving does.
        workers: processes of each loader; 0 loads in the caller's.
        seed: of order and augmentation.
        caches: by split, see ``boxwright.data.cache``; a split without one is decoded every epoch.
    """

    def __init__(
        self,
        folder: DataFolder,
        spec: InputSpec,
        recipe: str,
        batch_size: int,
        workers: int,
        seed: int,
        caches: Mapping[str, CanvasCache] | None = None,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._spec = spec
        self._recipe = recipe
        self._batch_size = batch_size
        self._workers = workers
        self._seed = seed
        self._caches = caches or {}

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled and augmented batches; the last may be smaller."""
        dataset = self._dataset("train", Augmentation(self._recipe, self._spec), self._batch_size)
        sampler = EpochSampler(dataset, self._seed)
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.current_epoch)
        return self._loader(dataset, self._batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every picture once, singly, in order."""
        return self._loader(self._dataset("valid", None, 1), 1, None)

    def _dataset(self, split: str, augmentation: Augmentation | None, batch_size: int) -> PictureDataset:
        shape = (batch_size, 3, self._spec.height, self._spec.width)
        memory = BatchMemory(self._workers, _SLOTS, shape) if self._workers else None
        cache = self._caches.get(split)
        return PictureDataset(self._folder.splits[split], self._spec, augmentation, self._seed, cache, memory)

    def _loader(self, dataset: PictureDataset, batch_size: int, sampler: EpochSampler | None) -> DataLoader[Sample]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self._workers,
            collate_fn=collate,
            multiprocessing_context=LoaderContext() if self._workers else None,
            prefetch_factor=_AHEAD if self._workers else None,
            worker_init_fn=ready_worker,  # Lightning's own, set where there is none, imports all of Lightning
            persistent_workers=self._workers > 0,
            pin_memory=on_gpu,
        )
