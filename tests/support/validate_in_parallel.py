"""One process of a distributed validation, started by torchrun: validates DATA and writes what it measured to OUT."""

import json
import sys
from pathlib import Path

import lightning as L
import torch

from boxwright.data import read_folder
from boxwright.evaluation import ground_truth_of
from boxwright.models.detector import Detector
from boxwright.runtime import InputSpec, ModelSpec
from boxwright.training.data_module import DetectionData
from boxwright.training.module import DetectionModule
from boxwright.training.optimization import Optimization


def validate(data, out, devices):
    """Validate an untrained network of fixed weights; one file of figures a process."""
    folder = read_folder(Path(data))
    torch.manual_seed(0)
    spec = ModelSpec("parallel", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(96, 96))
    detector = Detector(spec)
    truth = ground_truth_of(folder.splits["valid"])
    module = DetectionModule(detector, spec, truth, Optimization("sgd", 0.1, 0.0, 0.1))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(module, DetectionData(folder, spec.input, "none", 1, 0, 0), verbose=False)
    shares = len(trainer.val_dataloaders.sampler)
    document = {
        "pictures": list(module.found),
        "detections": [len(found) for found in module.found.values()],
        "share": shares,
        "figures": module.figures.to_document(spec.class_names),
    }
    Path(out, f"{trainer.global_rank}.json").write_text(json.dumps(document))


if __name__ == "__main__":
    validate(sys.argv[1], sys.argv[2], int(sys.argv[3]))
