"""What every architecture promises, each through the public functions, to a real TorchServe.

A new row of the catalogue joins by itself. Loss and classes are of new networks; what is saved, exported and served is
an ``opinionated`` one, which has detections to lose without hours of training. Exporting takes most of the time, in a
process of its own: archives are made beside the tests that do not need them.
"""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import boxwright
from boxwright.data import draw_demo_data, read_folder
from boxwright.evaluation.operating import write_spec
from boxwright.evaluation.results import RESULTS, SplitResults
from boxwright.models import find_architecture, find_family
from boxwright.models.detector import Detector
from boxwright.models.transformers_detectors import RfDetr
from boxwright.models.weights import load_weights
from boxwright.runtime import Execution, ModelSpec, OperatingPoint, open_bundle
from boxwright.runtime.bundle import RUN_SPEC, WEIGHTS
from boxwright.runtime.networks import build_network
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server
from support.networks import SMALL, TRIED, canvases, opinionated, spec_of
from support.torchserve import torchserve_of

ARCHITECTURES = TRIED
ALIKE = {
    "deimv2_n",
    "fasterrcnn_mobilenet_v2_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
}
"""Not shown to TorchServe, where each takes 50 s on a slow machine: another row brings the same code there."""
IN_TORCHSERVE = [one for one in ARCHITECTURES if one not in ALIKE]
TOGETHER = [tuple(IN_TORCHSERVE[first : first + 5]) for first in range(0, len(IN_TORCHSERVE), 5)]
"""Those that one TorchServe holds: each takes .7 GiB there."""
SIDE, LEARNING_SIDE = 64, 32
"""Of a canvas, at least, in pixels: so that there are enough detections, and so that there are few to learn from."""
FOR_QUERIES = {"least": 96, "rate": 3e-3}
"""Small transformers have random queries to teach: a canvas with places for them, and a rate that does it in time."""
STEPS = 60
"""Most steps in which a new network must show that it learns; it stops as soon as it does."""
LEARNT = 1
"""The class of all boxes that it is shown: the middle one of three, so that a shift either way is seen."""
SETTINGS = {"epochs": 1, "batch_size": 2, "augmentation": "none", "precision": "fp32", "workers": 0, "wandb": "off"}


def small_spec(architecture, least=SIDE):
    """On a canvas that is higher than it is wide, where the architecture allows it."""
    stride = find_architecture(architecture).stride
    side = -(-least // stride) * stride
    return spec_of(architecture, side + stride, side)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("drawn"), sizes={"train": 4, "valid": 2})


@pytest.fixture(scope="module")
def other_classes(data, tmp_path_factory):
    """The same pictures without triangles, and with another name for circles."""
    folder = tmp_path_factory.mktemp("fewer") / "data"
    shutil.copytree(data, folder)
    for path in folder.glob("*/_annotations.coco.json"):
        document = json.loads(path.read_text())
        classes = {one["name"]: one for one in document["categories"]}
        gone = classes["triangle"]
        classes["circle"]["name"] = "star"
        document["categories"].remove(gone)
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] != gone["id"]]
        path.write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """By architecture its finished run, made when it is first asked for, and its archive, which is then begun."""
    place, runs, archives = tmp_path_factory.mktemp("contract"), {}, {}
    with ThreadPoolExecutor(1) as beside:

        def made(architecture):
            if architecture not in runs:
                runs[architecture] = finished_run(architecture, data, place)
                archives[architecture] = beside.submit(boxwright.archive, runs[architecture], store=place / "store")
            return runs[architecture], archives[architecture]

        yield made


@pytest.fixture
def run(architecture, made):
    return made(architecture)[0]


@pytest.fixture
def mar(architecture, made):
    """Exported and proved."""
    return made(architecture)[1].result()


def finished_run(architecture, data, place):
    """One epoch, at a rate that leaves the network's opinions as they are."""
    spec = replace(small_spec(architecture), classes=read_folder(data).classes)  # by whose names rows are taken over
    weights = place / "weights" / architecture
    weights.mkdir(parents=True)
    write_spec(weights, spec)
    network = taught(spec).network if isinstance(find_family(architecture), RfDetr) else opinionated(spec)
    torch.save(network.state_dict(), weights / WEIGHTS)
    run = boxwright.train(
        data=data,
        model=architecture,
        weights=str(weights / WEIGHTS),
        name=architecture,
        out=place,
        optimizer="sgd",
        learning_rate=1e-9,
        **on_canvas(spec),
        **SETTINGS,
    )
    write_spec(run.folder, replace(run.spec, operating_point=OperatingPoint(telling_threshold(run.folder))))
    for folder in (weights, run.folder / "checkpoints"):  # gigabytes of all architectures together
        shutil.rmtree(folder)
    return run.folder


def taught(spec):
    """A detector that has seen one batch often enough to have opinions.

    For RF-DETR: opinions drawn by chance make the boxes of its training queries infinite.
    """
    torch.manual_seed(0)
    detector = Detector(spec)
    for _ in lessons(detector, spec, FOR_QUERIES["rate"]):
        pass
    return detector


def on_canvas(spec):
    return {"image_size": [spec.input.height, spec.input.width], "resize": spec.input.resize}


def telling_threshold(run):
    """In the widest gap between the scores of some dozens of detections, so that rounding does not decide."""
    scores = np.concatenate([one.scores for one in SplitResults.load(run / RESULTS).detections])
    best = np.sort(scores)[::-1][10:40].astype(float)
    gap = int(np.argmax(best[:-1] - best[1:]))
    return (best[gap] + best[gap + 1]) / 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_saved_and_loaded_detects_the_same_to_the_bit(architecture, run, data):
    kept, loaded = SplitResults.load(run / RESULTS), boxwright.evaluate(run, data).results
    assert min(len(one) for one in kept.detections) >= 10
    for one, other in zip(kept.detections, loaded.detections, strict=True):
        for part in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_trained_on_for_other_classes_and_says_what_is_new(architecture, run, other_classes, tmp_path):
    weights, printed, spec = str(run / WEIGHTS), io.StringIO(), ModelSpec.load(run / RUN_SPEC)
    boxwright.train(
        data=other_classes,
        model=architecture,
        weights=weights,
        out=tmp_path,
        fast_dev_run=True,
        console=Console(file=printed, width=1000),
        **on_canvas(spec),
        **SETTINGS,
    )
    others = replace(spec, classes=read_folder(other_classes).classes)
    loaded = load_weights(build_network(others), weights, others)
    assert f"Weights: {loaded.summary()}." in printed.getvalue()
    assert (loaded.head.kept, loaded.head.new) == (("square",), ("star",))
    assert loaded.left == loaded.unused == loaded.reshaped == ()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_from_one_batch_and_finds_the_class_that_it_learnt(architecture):
    torch.manual_seed(0)
    small = architecture in SMALL
    spec = small_spec(architecture, FOR_QUERIES["least"] if small else LEARNING_SIDE)
    detector, losses, best = Detector(spec), [], []
    rate = FOR_QUERIES["rate"] if small else find_architecture(architecture).learning_rate
    for loss, pictures in lessons(detector, spec, rate):
        losses.append(loss)
        detections = detector.detect(pictures)
        require_valid(detections, spec)
        best.append(best_label(detections))
        if losses[-1] < 0.75 * losses[0] and best[-1] == LEARNT:
            break
    assert losses[-1] < 0.75 * losses[0], losses
    assert best[-1] == LEARNT, best


def lessons(detector, spec, rate):
    """Train on one batch, all of whose boxes are of one class; yields each step's loss and the pictures."""
    height, width = spec.input.height, spec.input.width
    pictures = torch.from_numpy(canvases(2, height, width))
    sides = torch.tensor([width, height, width, height])
    boxes = [
        torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.5, 0.6, 0.95, 0.9]]) * sides,
        torch.tensor([[0.1, 0.3, 0.6, 0.9]]) * sides,
    ]
    labels = [torch.full((len(one),), LEARNT) for one in boxes]
    optimizer = torch.optim.AdamW(
        [{"params": one.parameters, "lr": one.rate * rate} for one in detector.parameter_groups()]
    )
    detector.network.train()
    for _ in range(STEPS):
        torch.manual_seed(0)  # of what a loss samples
        loss = sum(detector.losses(pictures, boxes, labels).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item(), pictures


def best_label(detections):
    """The class of the surest detection; None without any."""
    surest = max((one for one in detections if len(one)), key=lambda one: one.scores.max(), default=None)
    return None if surest is None else int(surest.labels[surest.scores.argmax()])


def require_valid(detections, spec):
    for one in detections:
        assert one.boxes.min(initial=0) >= 0
        assert (one.boxes[:, 2:].max(axis=0, initial=0) <= (spec.input.width, spec.input.height)).all()
        assert (one.boxes[:, 2:] >= one.boxes[:, :2]).all()
        assert ((one.scores > 0) & (one.scores <= 1)).all()
        assert (np.diff(one.scores) <= 0).all()
        assert set(one.labels.tolist()) <= set(range(len(spec.classes)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_its_archive_is_proved_and_our_server_gives_the_evaluated_boxes(architecture, run, mar, data):
    proofs = open_bundle(mar).spec.exports
    assert set(proofs) == {"onnxruntime-fp32", "openvino-fp32"}
    assert all(proof["detections"] > 0 for proof in proofs.values()), proofs
    with background_server(load_models([mar], Execution("onnxruntime"))) as base:
        require_the_same(run, data, base)


@pytest.fixture(scope="module")
def torchserve(request, made, tmp_path_factory):
    """One process with the archives of some architectures; its base URL."""
    mars = [made(architecture)[1].result() for architecture in request.param]
    with torchserve_of(mars, tmp_path_factory.mktemp("torchserve"), 1) as base:
        yield base


@pytest.mark.parametrize(
    ("torchserve", "architecture"),
    [(group, architecture) for group in TOGETHER for architecture in group],
    indirect=["torchserve"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_torchserve_gives_the_evaluated_boxes(architecture, torchserve, run, data):
    require_the_same(run, data, torchserve)


def require_the_same(run, data, base):
    """What a server answers is what the training found on validation, within the project's tolerances."""
    found = boxwright.evaluate_endpoint(run, data, url=f"{base}/predictions/{run.name}")
    found.require()
    assert found.reference_from == str(run / RESULTS)
    assert found.detections >= 10
    assert found.detections_fault == ""
