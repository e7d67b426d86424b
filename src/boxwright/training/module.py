"""The LightningModule: trains a detector, and measures it on validation pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
import torch.distributed
from torch import Tensor

from boxwright.data.dataset import Batch
from boxwright.evaluation.results import detections_of, detections_to_columns
from boxwright.metrics import Figures, GroundTruth, measure
from boxwright.metrics.figures import LOGGED
from boxwright.models import find_architecture
from boxwright.models.detector import Detector
from boxwright.models.freezing import hold_frozen_batchnorm
from boxwright.models.weights_files import CHECKPOINT_KEY
from boxwright.runtime import Detections, ModelSpec
from boxwright.runtime.tiling import together

from .averaging import MovingAverage
from .checkpoints import SO_FAR
from .data_module import SharedBatches
from .divergence import LossGuard, Stateful
from .optimization import OneCycle, Optimization
from .world import ALONE, World

__all__ = ["DetectionModule", "gathered", "rescaled", "scaled_size"]

_SEED_STRIDE = 1_000_003  # keeps the steps of two seeds apart


class DetectionModule(L.LightningModule):
    """Trains a detector and measures it after every epoch.

    Args:
        detector: to train.
        spec: its specification, stored in every checkpoint.
        ground_truth: of the validation split, in its order.
        optimization: optimizer and schedule.
        guard: looks at every loss.
        multi_scale: share by which each training batch's canvas may be larger or smaller, 0..1.
        seed: with the step it seeds what the losses sample, so that a resumed run samples the same.
        world: the processes that train together.

    Attributes:
        loss: of the last training step's whole batch, detached; reading it waits for a GPU.
        figures: of the last validation.
        detections: of the last validation, by picture index, in original pixels; of all processes.
    """

    def __init__(
        self,
        detector: Detector,
        spec: ModelSpec,
        ground_truth: Sequence[GroundTruth],
        optimization: Optimization,
        guard: LossGuard,
        multi_scale: float = 0.0,
        seed: int = 0,
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self._world = world
        self.network = detector.network
        self.loss: Tensor | None = None
        self.figures: Figures | None = None
        self.detections: dict[int, Detections] = {}
        self._detector = detector
        self._spec = spec
        self._ground_truth = ground_truth
        self._optimization = optimization
        self._guard = guard
        self._multi_scale = multi_scale
        self._seed = seed
        self._pictures = 0
        self._started = 0.0
        self._losses = _Means()
        self._measured = -1
        self._without_step = False
        self._wanted: list[tuple[float, float]] = []

    def configure_optimizers(self) -> Any:
        """AdamW or SGD under a one-cycle schedule over all steps."""
        optimization = self._optimization
        groups = self._detector.parameter_groups(optimization.backbone_rate, optimization.layer_decay)
        configured = optimization.configure(groups, int(self.trainer.estimated_stepping_batches))
        self._wanted = [(group["initial_lr"], group["weight_decay"]) for group in configured["optimizer"].param_groups]
        return configured

    def on_train_start(self) -> None:
        """If a resumed run is longer or shorter than it was planned, spread the rest of the schedule over the rest.

        An epoch that is resumed in its middle does not begin, as far as Lightning is concerned.
        """
        self._begin()
        self._follow_settings()
        total = int(self.trainer.estimated_stepping_batches)
        if self.cycle.steps != total:
            self.cycle.plan(self.global_step, total)

    def _follow_settings(self) -> None:
        """A resumed optimizer brings the rates of its checkpoint; those of the settings hold."""
        scheduler: Any = self.lr_schedulers()
        scheduler.base_lrs = [rate for rate, _ in self._wanted]
        for group, (rate, decay) in zip(self.trainer.optimizers[0].param_groups, self._wanted, strict=True):
            factor = self.cycle(scheduler.last_epoch)
            group.update(initial_lr=rate, weight_decay=decay, lr=rate * factor)

    @property
    def cycle(self) -> OneCycle:
        """The learning-rate schedule."""
        scheduler: Any = self.lr_schedulers()
        cycle: OneCycle = scheduler.lr_lambdas[0]
        return cycle

    def on_train_epoch_start(self) -> None:
        """Start the clock, and the means of the losses."""
        self._begin()
        self._losses = _Means()

    def _begin(self) -> None:
        hold_frozen_batchnorm(self.network)
        self._pictures, self._started = 0, time.perf_counter()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Sum of the losses of a batch; None if it is not to be trained on.

        Of several processes each returns its part, times their number: Lightning takes the mean of the gradients.

        Raises:
            ModelError: the loss is not finite for the second time.
        """
        number = self.current_epoch * int(self.trainer.num_training_batches) + batch_index
        torch.manual_seed(self._seed * _SEED_STRIDE + number)
        canvases, boxes = self._another_size(batch)
        pictures = self._pictures_of(batch, batch_index)
        losses = self._detector.losses(canvases, boxes, batch.labels, self._world.share(pictures))
        parts = torch.stack(list(losses.values()))
        whole = self._world.total(parts.detach())
        if not self._passes(whole.sum(), batch):
            return self._no_loss()
        self.loss = whole.sum()
        self._pictures += pictures
        self._losses.add({"loss": self.loss, **dict(zip(losses, whole, strict=True))}, pictures)
        return parts.sum() * self._world.size

    def _no_loss(self) -> Tensor | None:
        """None; among several processes, where Lightning wants a loss, one whose step is then left out."""
        if self._world.size == 1:
            return None
        self._without_step = True
        return 0.0 * torch.stack([one.sum() for one in self.network.parameters() if one.requires_grad]).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Without gradients an optimizer leaves weights and moments alone."""
        if self._without_step:
            self._without_step = False
            optimizer.zero_grad(set_to_none=True)

    def _pictures_of(self, batch: Batch, batch_index: int) -> int:
        """How many pictures a batch has, of all processes together."""
        if self._world.size == 1:
            return len(batch.indices)
        batches = cast(Any, self.trainer.train_dataloader).batch_sampler
        assert isinstance(batches, SharedBatches), "the data module's"
        return batches.pictures(batch_index)

    def _passes(self, loss: Tensor, batch: Batch) -> bool:
        """Whether a loss is to be trained on; if not, the weights are some steps younger and the rate is halved."""
        averages = [one.averages for one in self._callbacks() if isinstance(one, MovingAverage)]
        state: list[Stateful] = [self.network, self.trainer.optimizers[0], *averages]
        if self._guard.passes(loss, batch, self.global_step, state, last_time=self.cycle.halved):
            return True
        self.cycle.halve()
        self.zero_grad()
        return False

    def _callbacks(self) -> list[Any]:
        return list(cast(Any, self.trainer).callbacks)

    def _another_size(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Canvases and boxes of a batch, on a canvas of another size if ``multi_scale`` says so."""
        if not self._multi_scale:
            return batch.canvases, batch.boxes
        factor = 1.0 + self._multi_scale * float(torch.rand(()) * 2 - 1)
        return rescaled(batch.canvases, batch.boxes, factor, find_architecture(self._spec.architecture).stride)

    def on_validation_epoch_start(self) -> None:
        """Stop the clock of the training part; forget the last epoch's detections."""
        if self._pictures:
            self.log("train/images_per_s", self._pictures / (time.perf_counter() - self._started))
            self.log("train/learning_rate", self._learning_rate())
            self.log_dict({f"train/{name}": value for name, value in self._losses.values().items()}, batch_size=1)
        self.detections, self._started = {}, time.perf_counter()

    def _learning_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect detections in original pixels, by picture; a batch is one picture, or the windows of one."""
        (index,) = set(batch.indices)
        on_canvas = [self._detector.detect(canvas[None])[0] for canvas in batch.canvases]  # as in serving, one by one
        self.detections[index] = together(on_canvas, batch.placements, self._spec.input)

    def on_validation_epoch_end(self) -> None:
        """Measure all pictures, each once; after a fast dev run, those that were seen."""
        speed = self._world.size * len(self.detections) / max(time.perf_counter() - self._started, 1e-9)
        self.detections = gathered(self.detections)
        self.figures = measure(
            [self._ground_truth[index] for index in self.detections],
            list(self.detections.values()),
            len(self._spec.classes),
        )
        self._measured = self.current_epoch
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
        """Add the specification, and this epoch's figures and detections; before its validation, its losses so far."""
        document = {"spec": self._spec.to_json(), "epoch": self.current_epoch}
        if self.figures is None or self._measured != self.current_epoch:
            batches = int(cast(Any, self.trainer.fit_loop.epoch_loop.batch_progress.current).processed)
            checkpoint[CHECKPOINT_KEY] = {**document, SO_FAR: {"batches": batches, "losses": self._losses.state()}}
            return
        columns = detections_to_columns(list(self.detections.values()))
        checkpoint[CHECKPOINT_KEY] = {
            **document,
            "figures": self.figures.to_document(self._spec.class_names),
            "found": {name: torch.from_numpy(column) for name, column in columns.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the means of the losses."""
        so_far = checkpoint[CHECKPOINT_KEY].get(SO_FAR)
        self._losses = _Means(so_far["losses"] if so_far else None)


class _Means:
    """The means of an epoch's losses, on the device: adding a step does not wait for it.

    Args:
        state: of an earlier one.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._count: int = state["pictures"] if state else 0
        self._sums: dict[str, Tensor] = dict(state["sums"]) if state else {}

    def add(self, losses: Mapping[str, Tensor], pictures: int) -> None:
        """Count the losses of a batch."""
        self._count += pictures
        for name, value in losses.items():
            added = value.detach().double() * pictures
            self._sums[name] = self._sums[name].to(added.device) + added if name in self._sums else added

    def values(self) -> dict[str, Tensor]:
        """Means by name, float32."""
        return {name: (total / self._count).float() for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"pictures": self._count, "sums": {name: total.cpu() for name, total in self._sums.items()}}


def rescaled(canvases: Tensor, boxes: Sequence[Tensor], factor: float, stride: int) -> tuple[Tensor, list[Tensor]]:
    """Canvases of about another size, with their boxes.

    Args:
        canvases: uint8 [N, 3, H, W].
        boxes: N of float32 [n, 4], xyxy, canvas pixels.
        factor: of both sides, which become the nearest multiples of ``stride``, at least one.
        stride: pixels.
    """
    height, width = canvases.shape[-2:]
    size = scaled_size(height, width, factor, stride)
    if size == (height, width):
        return canvases, list(boxes)
    resized = torch.nn.functional.interpolate(canvases, size=size, mode="bilinear", antialias=True)
    across, down = size[1] / width, size[0] / height
    scale = torch.tensor([across, down, across, down], device=canvases.device)
    return resized, [one * scale for one in boxes]


def scaled_size(height: int, width: int, factor: float, stride: int) -> tuple[int, int]:
    """Height and width of a canvas, times ``factor``: the nearest multiples of ``stride``, at least one."""
    return max(round(height * factor / stride), 1) * stride, max(round(width * factor / stride), 1) * stride


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
