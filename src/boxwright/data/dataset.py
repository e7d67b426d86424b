"""Records become canvases and targets for a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from boxwright.runtime import InputSpec, Placement, preprocess

from .augment import Augmentation
from .coco import PictureRecord, Split

__all__ = ["Batch", "PictureDataset", "Sample", "collate"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture on the canvas.

    Attributes:
        canvas: uint8 [3, H, W], RGB.
        boxes: float32 [n, 4], xyxy, canvas pixels; crowds left out.
        labels: int64 [n], class indices.
        index: position of the record in its split.
        placement: the way back to the original picture.
    """

    canvas: Tensor
    boxes: Tensor
    labels: Tensor
    index: int
    placement: Placement


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples stacked: canvases uint8 [N, 3, H, W], the rest as lists of N."""

    canvases: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    indices: list[int]
    placements: list[Placement]

    def pin_memory(self) -> Batch:
        """With its canvases in page-locked memory, for a faster copy to a GPU."""
        return Batch(self.canvases.pin_memory(), self.boxes, self.labels, self.indices, self.placements)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one canvas size."""
    return Batch(
        torch.stack([sample.canvas for sample in samples]),
        [sample.boxes for sample in samples],
        [sample.labels for sample in samples],
        [sample.index for sample in samples],
        [sample.placement for sample in samples],
    )


class PictureDataset(Dataset[Sample]):
    """A split on the canvas; without augmentation it is what evaluation and serving see.

    Args:
        split: the records.
        spec: the canvas.
        augmentation: for training.
        seed: with the epoch and the index it decides every augmentation.
    """

    def __init__(self, split: Split, spec: InputSpec, augmentation: Augmentation | None = None, seed: int = 0) -> None:
        self._records: tuple[PictureRecord, ...] = split.pictures
        self._spec = spec
        self._augmentation = augmentation
        self._seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers outlive an epoch

    def __len__(self) -> int:
        return len(self._records)

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentations of an epoch; running workers follow."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            PictureError: the picture cannot be decoded.
        """
        record = self._records[index]
        pixels, placement = preprocess(record.path, self._spec)
        canvas = torch.from_numpy(pixels)
        boxes = torch.from_numpy(placement.to_canvas(record.boxes[~record.crowd]))
        labels = torch.from_numpy(record.labels[~record.crowd])
        if self._augmentation is not None:
            canvas, boxes, labels = self._augmentation(canvas, boxes, labels, self._sample_seed(index))
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # in float32 a sliver may have none
        return Sample(canvas, boxes[has_area], labels[has_area], index, placement)

    def _sample_seed(self, index: int) -> int:
        sequence = np.random.SeedSequence((self._seed, int(self._epoch), index))
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)
