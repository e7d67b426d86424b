"""The LightningDataModule: training shuffled and augmented, validation in order and unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, DistributedSampler

from boxwright.data import DataFolder, PictureRecord
from boxwright.data.augment import Augmentation
from boxwright.data.cache import CanvasCache, cache_place, content_digests, disk_cache, mib, ram_cache, require_calls
from boxwright.data.dataset import PictureDataset, Sample, collate
from boxwright.data.workers import BatchMemory
from boxwright.host.processes import WorkerContext, ready_worker
from boxwright.runtime import InputSpec

__all__ = ["DetectionData", "EpochSampler", "Loading", "open_caches"]

_AHEAD = 2  # batches that each loader process may prepare in advance
_SLOTS = _AHEAD + 2  # and the ones that the training step holds


class EpochSampler(DistributedSampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the same pictures.

    Of several processes each gets every n-th picture; the first pictures come again to give all the same number.
    Lightning would wrap a sampler that is not a ``DistributedSampler``, and would not pass the epoch on.

    Args:
        dataset: gets the number of each epoch, for its augmentations.
        seed: of the run.
        processes: number of processes that train together.
        rank: of this process.
    """

    def __init__(self, dataset: PictureDataset, seed: int, processes: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, processes, rank, seed=seed)
        self._pictures = dataset

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        super().set_epoch(epoch)
        self._pictures.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._pictures))
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())


@dataclass(frozen=True)
class Loading:
    """How pictures are loaded.

    Attributes:
        recipe: augmentation of the training split.
        batch_size: pictures per training step; validation uses one at a time, as serving does.
        workers: processes of each loader; 0 loads in the caller's process.
        seed: of order and augmentation.
    """

    recipe: str
    batch_size: int
    workers: int
    seed: int


def open_caches(
    kind: str,
    setting: Path | None,
    folder: DataFolder,
    spec: InputSpec,
    say: Callable[[str], object],
) -> dict[str, CanvasCache]:
    """Open the caches of the splits that training reads; close them at its end.

    Args:
        kind: ``off``, ``ram`` or ``disk``.
        setting: ``cache_dir``.
        folder: checked records.
        spec: the canvas.
        say: prints one line per cache: where, how large, how full.

    Raises:
        ConfigError: no room, a folder that cannot be written to, or a system without the calls it needs (Windows).
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
    """SHA-256 of each picture's file; those of the data check if it read all files whole."""
    known = [record.digest for record in records if record.digest is not None]
    return known if len(known) == len(records) else content_digests([record.path for record in records])


class DetectionData(L.LightningDataModule):
    """Loaders of a data folder.

    Args:
        folder: checked records.
        spec: the canvas.
        loading: recipe, batch size, processes, seed.
        caches: by split, see ``boxwright.data.cache``; a split without one is decoded every epoch.
    """

    def __init__(
        self, folder: DataFolder, spec: InputSpec, loading: Loading, caches: Mapping[str, CanvasCache] | None = None
    ) -> None:
        super().__init__()
        self._folder = folder
        self._spec = spec
        self._loading = loading
        self._caches = caches or {}

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled and augmented batches; the last may be smaller."""
        seed, batch_size = self._loading.seed, self._loading.batch_size
        dataset = self._dataset("train", Augmentation(self._loading.recipe, self._spec), batch_size)
        if self.trainer is None:
            return self._loader(dataset, batch_size, EpochSampler(dataset, seed))
        sampler = EpochSampler(dataset, seed, self.trainer.world_size, self.trainer.global_rank)
        sampler.set_epoch(self.trainer.current_epoch)
        return self._loader(dataset, batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every picture once, one at a time, in order."""
        return self._loader(self._dataset("valid", None, 1), 1, None)

    def _dataset(self, split: str, augmentation: Augmentation | None, batch_size: int) -> PictureDataset:
        shape = (batch_size, 3, self._spec.height, self._spec.width)
        workers = self._loading.workers
        memory = BatchMemory(workers, _SLOTS, shape) if workers else None
        cache = self._caches.get(split)
        return PictureDataset(self._folder.splits[split], self._spec, augmentation, self._loading.seed, cache, memory)

    def _loader(self, dataset: PictureDataset, batch_size: int, sampler: EpochSampler | None) -> DataLoader[Sample]:
        workers = self._loading.workers
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            multiprocessing_context=WorkerContext() if workers else None,
            prefetch_factor=_AHEAD if workers else None,
            worker_init_fn=ready_worker,  # Lightning would set its own, which imports all of Lightning
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )
