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
from boxwright.training.world import joined


def validate(data, out):
    """Validate an untrained network of fixed weights."""
    folder = read_folder(Path(data))
    torch.manual_seed(0)
    spec = ModelSpec("parallel", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(96, 96))
    detector = Detector(spec)
    truth = ground_truth_of(folder.splits["valid"])
    optimization, guard = Optimization("sgd", 0.1, 0.0, 0.1), LossGuard((), Path(out), print)
    with joined(on_gpus=False) as world:
        module = DetectionModule(detector, spec, truth, optimization, guard, world=world)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=world.size,
            strategy="ddp" if world.size > 1 else "auto",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        data_module = DetectionData(folder, spec.input, Loading("none", 1, 0, 0), world=world)
        trainer.validate(module, data_module, verbose=False)
    document = {
        "pictures": list(module.detections),
        "detections": [len(detections) for detections in module.detections.values()],
        "share": len(trainer.val_dataloaders),
        "figures": module.figures.to_document(spec.class_names),
    }
    Path(out, f"{trainer.global_rank}.json").write_text(json.dumps(document))


class Seen(L.Callback):
    """Notes which pictures this process trained on, by epoch, and the loss of every step."""

    def __init__(self):
        self.epochs = []
        self.losses = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.epochs[-1].append(batch.indices)

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.losses.append(float(pl_module.loss))


def train(data, out, tasks):
    """Train with each of these settings in turn; tasks are JSON, settings by name."""
    with joined(on_gpus=False):
        for name, settings in json.loads(tasks).items():
            place = Path(out, name)
            place.mkdir(exist_ok=True, parents=True)
            train_once(data, place, settings)


def train_once(data, out, settings):
    trainers, seen = [], Seen()

    def make_trainer(**options):
        trainers.append(L.Trainer(**{**options, "callbacks": [*options["callbacks"], seen]}))
        return trainers[0]

    fixed = {"workers": 0, "gpus": 0, "wandb": "off"}
    result = boxwright.train(data=data, out=Path(out, "runs"), make_trainer=make_trainer, **fixed, **settings)
    network = trainers[0].lightning_module.network
    weights = torch.cat([value.detach().flatten() for value in network.state_dict().values()])
    document = {
        "folder": str(result.folder),
        "spec": result.spec is not None,
        "seen": seen.epochs,
        "losses": seen.losses,
        "weights": weights.double().sum().item(),
    }
    Path(out, f"{trainers[0].global_rank}.json").write_text(json.dumps(document))


if __name__ == "__main__":
    {"validate": validate, "train": train}[sys.argv[1]](*sys.argv[2:])
