"""Records become canvases and targets for a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from boxwright.runtime import InputSpec, Placement, decode, preprocess
from boxwright.runtime.picture import LARGEST_PIXELS
from boxwright.runtime.preprocess import lay, placement

from .augment import Augmentation, Picture, another_index, sample_seed
from .cache import CanvasCache
from .records import PictureRecord, Split
from .workers import BatchMemory, Parked

__all__ = ["Batch", "PictureDataset", "Sample", "collate"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture on the canvas.

    Attributes:
        canvas: uint8 [3, H, W], RGB.
        boxes: float32 [n, 4], xyxy, canvas pixels; crowds left out.
        labels: int64 [n], class indices.
        index: position of the picture in its split.
        placement: maps boxes back to the original picture.
    """

    canvas: Tensor
    boxes: Tensor
    labels: Tensor
    index: int
    placement: Placement


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples together: canvases uint8 [N, 3, H, W], the rest as lists of N.

    Attributes:
        parked: where the canvases are while a loader process passes the batch on.
    """

    canvases: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    indices: list[int]
    placements: list[Placement]
    parked: Parked | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: each tensor would cost a file descriptor, so boxes and labels are sent as two arrays."""
        counts = [len(labels) for labels in self.labels]
        boxes, labels = torch.cat(self.boxes).numpy(), torch.cat(self.labels).numpy()
        return _arrived, (self.parked or self.canvases, boxes, labels, counts, self.indices, self.placements)

    def pin_memory(self) -> Batch:
        """The batch with its canvases in page-locked memory, which copies faster to a GPU."""
        return Batch(self.canvases.pin_memory(), self.boxes, self.labels, self.indices, self.placements)


def _arrived(
    canvases: Parked | Tensor,
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    counts: list[int],
    indices: list[int],
    placements: list[Placement],
) -> Batch:
    return Batch(
        canvases.collect() if isinstance(canvases, Parked) else canvases,
        list(torch.split(torch.from_numpy(boxes), counts)),
        list(torch.split(torch.from_numpy(labels), counts)),
        indices,
        placements,
    )


def collate(batch: Any) -> Any:
    """Return the batch as it is: a ``PictureDataset`` makes whole batches itself."""
    assert isinstance(batch, Batch), "a loader with a batch size requests whole batches"
    return batch


class PictureDataset(Dataset[Sample]):
    """A split on the canvas; without augmentation the same as in evaluation and serving.

    Args:
        split: the records.
        spec: the canvas.
        augmentation: of the training split.
        seed: decides every augmentation, with the epoch and the index.
        cache: of this split on this canvas; without one every picture is decoded.
        memory: in which loader processes build batches.
        calm: the augmentation of the last epochs; see ``set_epoch``.
        numbers: of the picture that each record is of, if these are windows; see ``tiled``.
    """

    def __init__(
        self,
        split: Split,
        spec: InputSpec,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: CanvasCache | None = None,
        memory: BatchMemory | None = None,
        calm: Augmentation | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._numbers = numbers
        self._decoded: tuple[Path, Image.Image] | None = None
        self._records: tuple[PictureRecord, ...] = split.pictures
        self._spec = spec
        self._augmentation = augmentation
        self._calm = calm or augmentation
        self._seed = seed
        self._cache = cache
        self._memory = memory
        self._epoch = torch.zeros(2, dtype=torch.int64)  # its number, and whether it is one of the last
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers outlive an epoch

    def __len__(self) -> int:
        return len(self._records)

    def set_epoch(self, epoch: int, calm: bool = False) -> None:
        """Choose the augmentations of an epoch, also in running workers.

        Args:
            epoch: from 0.
            calm: whether it is one of the last.
        """
        self._epoch[0], self._epoch[1] = epoch, int(calm)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Args:
            index: of the picture; plus n times the number of pictures for its n-th repetition in the epoch, which is
                augmented otherwise.

        Raises:
            PictureError: the picture cannot be decoded.
        """
        return self._sample(index, self._canvases(1)[0])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch of samples, in the order of ``indices``.

        Raises:
            PictureError: a picture cannot be decoded.
        """
        parking = self._memory.take(len(indices)) if self._memory is not None else None
        canvases, parked = parking if parking is not None else (self._canvases(len(indices)), None)
        samples = [self._sample(index, canvas) for index, canvas in zip(indices, canvases, strict=True)]
        return Batch(
            canvases,
            [sample.boxes for sample in samples],
            [sample.labels for sample in samples],
            [sample.index for sample in samples],
            [sample.placement for sample in samples],
            parked,
        )

    def _canvases(self, count: int) -> Tensor:
        return torch.empty((count, 3, self._spec.height, self._spec.width), dtype=torch.uint8)

    def _sample(self, number: int, canvas: Tensor) -> Sample:
        """One sample; its pixels are written to ``canvas``."""
        index = number % len(self)
        placed = self._lay(index, canvas)
        _, boxes, labels = picture = self._with_targets(index, canvas, placed)
        epoch, calm = self._epoch.tolist()
        augmentation = self._calm if calm else self._augmentation
        if augmentation is not None:
            seed = sample_seed(self._seed, epoch, number)
            pixels, boxes, labels = augmentation(*picture, seed, self._another)
            if pixels is not canvas:
                canvas.copy_(pixels)
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # in float32 a very thin box may have none
        number = index if self._numbers is None else self._numbers[index]
        return Sample(canvas, boxes[has_area], labels[has_area], number, placed)

    def _another(self, seed: int) -> Picture:
        """A picture chosen by ``seed``, not augmented, for recipes that mix pictures."""
        index = another_index(seed, len(self))
        canvas = self._canvases(1)[0]
        return self._with_targets(index, canvas, self._lay(index, canvas))

    def _with_targets(self, index: int, canvas: Tensor, placed: Placement) -> Picture:
        record = self._records[index]
        boxes = torch.from_numpy(placed.to_canvas(record.boxes[~record.crowd]))
        return canvas, boxes, torch.from_numpy(record.labels[~record.crowd])

    def _lay(self, index: int, canvas: Tensor) -> Placement:
        """Lay the picture on ``canvas``, from the cache if possible."""
        record = self._records[index]
        if self._cache is not None and self._cache.read(index, canvas):
            return placement(record.width, record.height, self._spec)
        if self._numbers is not None:
            return lay(self._picture(record.path), self._spec, canvas.numpy(), record.window)
        placed = preprocess(record.path, self._spec, LARGEST_PIXELS, canvas.numpy())[1]
        if self._cache is not None:
            self._cache.write(index, canvas, record.path)
        return placed

    def _picture(self, path: Path) -> Image.Image:
        """A decoded picture; the last one is kept, because validation sees its windows one after the other."""
        if self._decoded is None or self._decoded[0] != path:
            self._decoded = (path, decode(path, LARGEST_PIXELS))
        return self._decoded[1]
