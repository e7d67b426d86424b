"""The LightningModule: trains a detector, and measures it on validation pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
import torch.distributed

from boxwright.data.dataset import Batch
from boxwright.evaluation.results import detections_of, detections_to_columns
from boxwright.metrics import Figures, GroundTruth, measure
from boxwright.metrics.figures import LOGGED
from boxwright.models.detector import Detector
from boxwright.models.freezing import hold_frozen_batchnorm
from boxwright.runtime import Detections, ModelError, ModelSpec, postprocess

from .optimization import Optimization

__all__ = ["CHECKPOINT_KEY", "DetectionModule", "gathered"]

CHECKPOINT_KEY = "boxwright"
"""Key of a checkpoint: the specification, and the figures and validation detections of its epoch."""

_SEED_STRIDE = 1_000_003  # keeps the steps of two seeds apart


class DetectionModule(L.LightningModule):
    """Trains a detector and measures it after every epoch.

    Args:
        detector: to train.
        spec: its specification, stored in every checkpoint.
        ground_truth: of the validation split, in its order.
        optimization: optimizer and schedule.
        seed: with the step it seeds what the losses sample, so that a resumed run samples the same.

    Attributes:
        figures: of the last validation.
        detections: of the last validation, by picture index, in original pixels; of all processes.
    """

    def __init__(
        self,
        detector: Detector,
        spec: ModelSpec,
        ground_truth: Sequence[GroundTruth],
        optimization: Optimization,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = detector.network
        self.figures: Figures | None = None
        self.detections: dict[int, Detections] = {}
        self._detector = detector
        self._spec = spec
        self._ground_truth = ground_truth
        self._optimization = optimization
        self._seed = seed
        self._pictures = 0
        self._started = 0.0

    def configure_optimizers(self) -> Any:
        """AdamW or SGD under a one-cycle schedule over all steps."""
        groups = self._detector.parameter_groups()
        return self._optimization.configure(groups, int(self.trainer.estimated_stepping_batches))

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        hold_frozen_batchnorm(self.network)
        self._pictures, self._started = 0, time.perf_counter()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Sum of the losses of a batch.

        Raises:
            ModelError: the loss is not finite.
        """
        torch.manual_seed(self._seed * _SEED_STRIDE + self.global_step)
        losses = self._detector.losses(batch.canvases, batch.boxes, batch.labels)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise ModelError(
                f"The loss became {total.item()} in epoch {self.current_epoch + 1}, step {self.global_step}.",
                "Lower learning_rate, or set precision to fp32.",
            )
        self._pictures += len(batch.indices)
        parts = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(
            {"train/loss": total.detach(), **parts},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.indices),
            sync_dist=True,
        )
        return total

    def on_validation_epoch_start(self) -> None:
        """Stop the clock of the training part; forget the last epoch's detections."""
        if self._pictures:
            speed = self.trainer.world_size * self._pictures / (time.perf_counter() - self._started)
            self.log("train/images_per_s", speed)
            self.log("train/learning_rate", self._learning_rate())
        self.detections, self._started = {}, time.perf_counter()

    def _learning_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect detections in original pixels, by picture."""
        on_canvas = self._detector.detect(batch.canvases)
        for index, placement, detections in zip(batch.indices, batch.placements, on_canvas, strict=True):
            self.detections[index] = postprocess(detections, placement)

    def on_validation_epoch_end(self) -> None:
        """Measure all pictures, each once; after a fast dev run, those that were seen."""
        speed = self.trainer.world_size * len(self.detections) / max(time.perf_counter() - self._started, 1e-9)
        self.detections = gathered(self.detections)
        self.figures = measure(
            [self._ground_truth[index] for index in self.detections],
            list(self.detections.values()),
            len(self._spec.classes),
        )
        logged = _logged(self.figures)
        self.log_dict(logged, logger=False)  # for the callbacks: Lightning rounds to float32
        for logger in self.loggers:
            logger.log_metrics(
                {**logged, "val/images_per_s": speed, "epoch": self.current_epoch}, step=self.global_step
            )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move canvases, boxes and labels; placements stay on the host."""
        return Batch(
            batch.canvases.to(device, non_blocking=True),
            [boxes.to(device, non_blocking=True) for boxes in batch.boxes],
            [labels.to(device, non_blocking=True) for labels in batch.labels],
            batch.indices,
            batch.placements,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the specification, and this epoch's figures and detections."""
        assert self.figures is not None, "checkpoints are saved after validation"
        columns = detections_to_columns(list(self.detections.values()))
        checkpoint[CHECKPOINT_KEY] = {
            "spec": self._spec.to_json(),
            "epoch": self.current_epoch,
            "figures": self.figures.to_document(self._spec.class_names),
            "found": {name: torch.from_numpy(column) for name, column in columns.items()},
        }


def _logged(figures: Figures) -> dict[str, float]:
    return {f"val/{name}": getattr(figures, name) for name in LOGGED}


def gathered(detections: Mapping[int, Detections]) -> dict[int, Detections]:
    """The detections of all processes by picture index, rising, each picture once.

    A distributed sampler repeats pictures so that every process has the same number; their second set of
    detections replaces the first, which is the same.

    Args:
        detections: of this process, by picture index.
    """
    parts: list[Any] = [{"indices": list(detections), **detections_to_columns(list(detections.values()))}]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        own, parts = parts[0], [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, own)
    together = {index: one for part in parts for index, one in zip(part["indices"], detections_of(part), strict=True)}
    return {index: together[index] for index in sorted(together)}
