"""The LightningDataModule: training shuffled and augmented, validation in order and unchanged."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

from boxwright.data import DataFolder, PictureRecord, Split
from boxwright.data.augment import Augmentation
from boxwright.data.cache import CanvasCache, cache_place, content_digests, disk_cache, mib, ram_cache, require_calls
from boxwright.data.dataset import Batch, PictureDataset, Sample, collate
from boxwright.data.sampling import draw, repeat_factors
from boxwright.data.tiles import tiled
from boxwright.data.workers import BatchMemory
from boxwright.host.processes import WorkerContext, ready_worker
from boxwright.runtime import InputSpec

from .world import ALONE, World

__all__ = ["DetectionData", "EpochSampler", "Loading", "SharedBatches", "batches_of", "open_caches"]

_AHEAD = 2  # batches that each loader process may prepare in advance
_SLOTS = _AHEAD + 2  # and the ones that the training step holds


class EpochSampler(DistributedSampler[int]):
    """An order that depends on seed and epoch alone, so that a resumed run sees the same pictures.

    It is the same in all processes that train together: the batches are shared out, see ``SharedBatches``.

    Args:
        dataset: gets the number of each epoch, for its augmentations.
        seed: of the run.
        shares: how often each picture comes in an epoch, on average; by default each comes once.
        calm_from: the first of the last epochs, whose augmentation mixes no pictures; may be changed.
        count: pictures of an epoch; by default the sum of the shares.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        seed: int,
        shares: NDArray[np.float64] | None = None,
        calm_from: int | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, seed=seed)
        self._pictures = dataset
        self.calm_from = calm_from
        self._shares = np.ones(len(dataset)) if shares is None else shares
        self._count = count or max(round(float(self._shares.sum())), 1)
        self._begun = (-1, 0)
        self.num_samples = self.total_size = self._count

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        super().set_epoch(epoch)
        self._pictures.set_epoch(epoch, self.calm_from is not None and epoch >= self.calm_from)

    def skip(self, epoch: int, pictures: int) -> None:
        """Leave out the first pictures of an epoch: an interrupted run has seen them."""
        self._begun = (epoch, pictures)

    def __iter__(self) -> Iterator[int]:
        epoch, seen = self._begun
        order = self._order().tolist()
        return iter(order[seen:] if self.epoch == epoch else order)

    def _order(self) -> NDArray[np.int64]:
        """Numbers of the epoch's pictures; see ``PictureDataset.__getitem__`` for those that come again."""
        return draw(self._shares, self._count, np.random.default_rng((self.seed, self.epoch)))


def batches_of(pictures: int, batch_size: int, least: int = 1) -> int:
    """How many batches pictures make if one of fewer than ``least`` joins the one before."""
    whole, rest = divmod(pictures, batch_size)
    return max(whole, 1) if rest < least else whole + 1


class SharedBatches(BatchSampler):
    """This process's part of each batch of a sampler; all processes together have what one alone would have.

    Args:
        sampler: the order of the pictures.
        batch_size: pictures of a batch, of all processes together.
        least: a last batch with fewer joins the one before.
        world: the processes.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, least: int, world: World = ALONE) -> None:
        assert batch_size >= least, "see require_company"
        super().__init__(sampler, batch_size, drop_last=False)
        self._least = least
        self._world = world

    def __iter__(self) -> Iterator[list[int]]:
        return map(self._world.own, self._whole())

    def _whole(self) -> Iterator[list[int]]:
        waiting: list[int] = []
        for batch in super().__iter__():
            if waiting and len(batch) >= self._least:
                yield waiting
                waiting = []
            waiting = waiting + batch
        yield waiting

    def pictures(self, index: int) -> int:
        """How many pictures the batch of this number in an epoch has, of all processes together."""
        before = len(self) - 1
        return self.batch_size if index < before else len(self.sampler) - before * self.batch_size  # type: ignore[arg-type]

    def __len__(self) -> int:
        return batches_of(len(self.sampler), self.batch_size, self._least)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Loading:
    """How pictures are loaded.

    Attributes:
        recipe: augmentation of the training split.
        batch_size: pictures that all processes hold at once together; validation uses one at a time, as serving does.
        workers: processes of each loader; 0 loads in the caller's process.
        seed: of order and augmentation.
        repeat_threshold: see ``boxwright.data.sampling.repeat_factors``; 0 repeats nothing.
        calm_from: the first of the last epochs, whose augmentation mixes no pictures; None for none.
        pictures: of an epoch; by default all, and those that come again.
        first_epoch: where training begins; 0 unless it is resumed.
        seen_batches: of that epoch, which an interrupted run was trained on.
        least: pictures of a batch: a last one with fewer joins the one before.
    """

    recipe: str
    batch_size: int
    workers: int
    seed: int
    repeat_threshold: float = 0.0
    calm_from: int | None = None
    pictures: int | None = None
    first_epoch: int = 0
    seen_batches: int = 0
    least: int = 1


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
        world: the processes that share the pictures.
    """

    def __init__(
        self,
        folder: DataFolder,
        spec: InputSpec,
        loading: Loading,
        caches: Mapping[str, CanvasCache] | None = None,
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._spec = spec
        self._loading = loading
        self._caches = caches or {}
        self._world = world
        self._parts = {} if spec.tile is None else {name: tiled(one, spec) for name, one in folder.splits.items()}

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled and augmented batches; the last may be smaller."""
        loading = self._loading
        largest = -(-min(loading.batch_size, self.epoch_pictures) // self._world.size)
        dataset = self._dataset("train", Augmentation(loading.recipe, self._spec), largest)
        sampler = EpochSampler(dataset, loading.seed, self._shares(), loading.calm_from, loading.pictures)
        # Lightning asks for the loader, and loads its first batches, before it knows in which epoch a resumed run is.
        sampler.set_epoch(loading.first_epoch)
        sampler.skip(loading.first_epoch, loading.seen_batches * loading.batch_size)
        batches = SharedBatches(sampler, loading.batch_size, loading.least, self._world)
        return self._loader(dataset, batch_sampler=batches)

    @property
    def epoch_pictures(self) -> int:
        """How many pictures come in an epoch."""
        if self._loading.pictures is not None:
            return self._loading.pictures
        shares = self._shares()
        return len(self._split("train").pictures) if shares is None else round(float(shares.sum()))

    @property
    def validation_canvases(self) -> int:
        """How many canvases a validation has: one per picture, or per window."""
        return len(self._split("valid").pictures)

    def _split(self, name: str) -> Split:
        """A split, of windows if pictures are seen in parts."""
        return self._parts[name][0] if self._parts else self._folder.splits[name]

    def _numbers(self, name: str) -> tuple[int, ...] | None:
        """Of the picture that each window of a split is of; None if pictures are seen as a whole."""
        return self._parts[name][1] if self._parts else None

    def trial_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Batches of a split as training and validation have them, without end, each loaded here when it is wanted."""
        recipe = Augmentation(self._loading.recipe, self._spec) if split == "train" else None
        cache, seed = self._caches.get(split), self._loading.seed
        dataset = PictureDataset(self._split(split), self._spec, recipe, seed, cache, numbers=self._numbers(split))
        order = itertools.cycle(np.random.default_rng(seed).permutation(len(dataset)).tolist())
        while True:
            yield dataset.__getitems__([next(order) for _ in range(batch_size)])

    def _shares(self) -> NDArray[np.float64] | None:
        if not self._loading.repeat_threshold:
            return None
        labels = [one.labels[~one.crowd] for one in self._split("train").pictures]
        return repeat_factors(labels, self._loading.repeat_threshold)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every picture once, one at a time, in order; several processes share them, and some come twice then.

        A batch has the windows of one picture, if pictures are seen in parts.
        """
        count = len(self._folder.splits["valid"].pictures)
        order: Iterable[int] = range(count)
        if self._world.size > 1:
            order = DistributedSampler(range(count), self._world.size, self._world.rank, shuffle=False)  # type: ignore[arg-type]
        parts: list[list[int]] = [[] for _ in range(count)]
        for part, number in enumerate(self._numbers("valid") or range(count)):
            parts[number].append(part)
        batches = [parts[number] for number in order]
        return self._loader(self._dataset("valid", None, max(map(len, batches))), batch_sampler=batches)

    def _dataset(self, split: str, augmentation: Augmentation | None, batch_size: int) -> PictureDataset:
        shape = (batch_size, 3, self._spec.height, self._spec.width)
        workers = self._loading.workers
        memory = BatchMemory(workers, _SLOTS, shape, whole=split == "valid") if workers else None
        cache, seed = self._caches.get(split), self._loading.seed
        calm = None
        if augmentation is not None and augmentation.mixes:
            calm = Augmentation(self._loading.recipe, self._spec, mixing=False)
        numbers = self._numbers(split)
        return PictureDataset(self._split(split), self._spec, augmentation, seed, cache, memory, calm, numbers)

    def _loader(self, dataset: PictureDataset, **batches: Any) -> DataLoader[Sample]:
        workers = self._loading.workers
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # as many as were asked for
            return DataLoader(
                dataset,
                **batches,
                num_workers=workers,
                collate_fn=collate,
                multiprocessing_context=WorkerContext() if workers else None,
                prefetch_factor=_AHEAD if workers else None,
                worker_init_fn=ready_worker,  # Lightning would set its own, which imports all of Lightning
                persistent_workers=workers > 0,
                pin_memory=on_gpu,
            )
