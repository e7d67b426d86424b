"""One process of several, started by torchrun: validates or trains on DATA and writes OUT/RANK.json."""

import json
import sys
from pathlib import Path

import lightning as L
import torch

import boxwright
from boxwright.data import read_folder
from boxwright.evaluation import ground_truth_of
from boxwright.models.detector import Detector
from boxwright.runtime import InputSpec, ModelSpec
from boxwright.training.data_module import DetectionData, Loading
from boxwright.training.divergence import LossGuard
from boxwright.training.module import DetectionModule
from boxwright.training.optimization import Optimization


def validate(data, out, devices):
    """Validate an untrained network of fixed weights."""
    folder = read_folder(Path(data))
    torch.manual_seed(0)
    spec = ModelSpec("parallel", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(96, 96))
    detector = Detector(spec)
    truth = ground_truth_of(folder.splits["valid"])
    module = DetectionModule(detector, spec, truth, Optimization("sgd", 0.1, 0.0, 0.1), LossGuard((), Path(out), print))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(module, DetectionData(folder, spec.input, Loading("none", 1, 0, 0)), verbose=False)
    document = {
        "pictures": list(module.detections),
        "detections": [len(detections) for detections in module.detections.values()],
        "share": len(trainer.val_dataloaders.sampler),
        "figures": module.figures.to_document(spec.class_names),
    }
    Path(out, f"{trainer.global_rank}.json").write_text(json.dumps(document))


class Seen(L.Callback):
    """Notes which pictures this process trained on, by epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.epochs[-1].extend(batch.indices)


def train(data, out, devices):
    """Train the tiny model for two epochs."""
    trainers, seen = [], Seen()

    def make_trainer(**options):
        callbacks = [*options.pop("callbacks"), seen]
        trainers.append(L.Trainer(**{**options, "devices": devices, "strategy": "ddp", "callbacks": callbacks}))
        return trainers[0]

    settings = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "epochs": 2, "batch_size": 2, "image_size": 96}
    result = boxwright.train(
        data=data, out=Path(out, "runs"), workers=0, gpus=0, wandb="off", make_trainer=make_trainer, **settings
    )
    weights = torch.cat([value.detach().flatten() for value in trainers[0].lightning_module.network.parameters()])
    document = {
        "folder": str(result.folder),
        "spec": result.spec is not None,
        "seen": seen.epochs,
        "weights": weights.double().sum().item(),
    }
    Path(out, f"{trainers[0].global_rank}.json").write_text(json.dumps(document))


if __name__ == "__main__":
    {"validate": validate, "train": train}[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))
