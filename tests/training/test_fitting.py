import subprocess
import sys

import pytest
import torch

import boxwright
from boxwright.config import TrainConfig, load_config
from boxwright.data import draw_demo_data, read_folder
from boxwright.models.detector import Detector
from boxwright.runtime import ConfigError, InputSpec, ModelError, ModelSpec
from boxwright.training import fitting
from boxwright.training import run as run_module
from boxwright.training.data_module import DetectionData, Loading
from boxwright.training.fitting import Need, measure_need, memory_warning, naming_what_fits
from boxwright.training.pace import Pace

TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "wandb": "off",
    "workers": 0,
    "augmentation": "none",
    "epochs": 1,
}
GIB = 2**30


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 12, "valid": 4})


@pytest.mark.parametrize(
    ("free", "total", "largest"),
    [(100 * GIB, 16, 16), (8 * GIB, 16, 4), (8 * GIB, 12, 4), (3 * GIB, 16, 1), (GIB, 16, None), (None, 16, 16)],
)
def test_the_largest_batch_that_fits_divides_the_total(free, total, largest):
    """A GiB is taken in any case, and one by every picture; 85 % of what is free may be taken."""
    assert Need(GIB, GIB, free).largest(total) == largest


def need_of(small, side):
    folder = read_folder(small)
    spec = ModelSpec("tried", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(side, side))
    torch.manual_seed(0)
    detector = Detector(spec)
    before = {name: value.clone() for name, value in detector.network.state_dict().items()}
    batch = next(DetectionData(folder, spec.input, Loading("none", 2, 0, 0)).trial_batches("train", 2))
    need = measure_need(detector, batch, "cpu")
    assert all(torch.equal(before[name], value) for name, value in detector.network.state_dict().items())
    return need


def test_a_larger_canvas_takes_more(small):
    one, other = need_of(small, 96), need_of(small, 192)
    assert one.fixed == other.fixed > 4 * 1_000_000
    assert 2 * one.picture < other.picture < 5 * one.picture
    assert one.free is None or one.free > GIB / 10


def test_auto_takes_what_fits_and_accumulates_to_the_total(small, tmp_path, monkeypatch, capsys):
    need = need_of(small, 96)
    tight = Need(need.fixed, need.picture, int((need.fixed + 3.5 * need.picture) / 0.85))
    monkeypatch.setattr(fitting, "free_memory", lambda: tight.free)
    run = boxwright.train(data=small, out=tmp_path, batch_size="auto", total_batch=12, **TINY)
    config = load_config(run.folder / "config.yaml")
    assert (config.batch_size, config.total_batch) == (3, 12)
    assert "Batch: 3 of 12 pictures at once" in capsys.readouterr().out
    steps = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert steps == 1


def test_a_batch_that_will_not_fit_is_told_before_training(small, tmp_path, monkeypatch, capsys):
    need = need_of(small, 96)
    monkeypatch.setattr(fitting, "free_memory", lambda: int((need.fixed + 3.5 * need.picture) / 0.85))
    boxwright.train(data=small, out=tmp_path, batch_size=12, **TINY)
    assert "batch_size=3 with total_batch=12 fits and learns the same" in capsys.readouterr().out


def test_a_batch_is_measured_as_large_as_the_data_makes_it(small, tmp_path, monkeypatch, capsys):
    measured = []

    def pace(detector, batches, picture, device):
        measured.append(len(next(batches).indices))
        return Pace(1.0, 1.0)

    monkeypatch.setattr(run_module, "measure_pace", pace)
    boxwright.train(data=small, out=tmp_path, batch_size=1000, **TINY)
    assert measured == [12]
    output = capsys.readouterr().out
    assert "batch_size = 1000: an epoch has 12 pictures, all in one step" in output
    assert "Warning: steps" not in output


def test_nothing_is_said_of_what_fits():
    config = TrainConfig(data="here", batch_size=4, image_size=64)
    assert memory_warning(Need(GIB, GIB, 100 * GIB), config) is None
    assert "smaller image_size" in memory_warning(Need(GIB, GIB, GIB), config)


def test_other_errors_pass_unchanged():
    config = TrainConfig(data="here", image_size=64)
    with pytest.raises(RuntimeError, match=r"^something else$"), naming_what_fits(None, config):
        raise RuntimeError("something else")
    with pytest.raises(ModelError, match="Out of memory: 4 pictures"), naming_what_fits(None, config):
        raise torch.OutOfMemoryError("CUDA out of memory")


PROGRAM = """
import resource, sys
import boxwright
from boxwright.config import TrainConfig
from boxwright.runtime import BoxwrightError

data, out = sys.argv[1:]
import boxwright.training.run
import torch
torch.zeros(1).sum()
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = taken + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    boxwright.train(
        data=data, out=out, model="fasterrcnn_tiny_fpn", weights="none", image_size=1024, batch_size=12, wandb="off",
        workers=0, epochs=1,
    )
except BoxwrightError as error:
    print("SAID:", error)
"""


def test_running_out_of_memory_is_a_sentence(small, tmp_path):
    """A real one: the process may not take more than 700 MiB for pictures that need several GiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    said = "SAID: Out of memory: 12 pictures at once on a canvas of 1024 x 1024 (height x width)."
    assert said in done.stdout, done.stderr[-2000:]
    assert "batch_size=" in done.stdout.split("SAID:")[1]


@pytest.mark.parametrize("batch", [0, "many", 1.5])
def test_a_batch_that_is_no_number_is_refused(batch):
    with pytest.raises(ConfigError, match="batch_size"):
        boxwright.train(data="here", batch_size=batch)


@pytest.mark.parametrize(
    "words", ["[enforce] DefaultCPUAllocator: can't allocate memory: 9 bytes", "could not create a primitive"]
)
def test_the_words_for_a_full_memory_are_known(words):
    config = TrainConfig(data="here", image_size=64, batch_size=2)
    with pytest.raises(ModelError, match="Out of memory: 2 pictures"), naming_what_fits(None, config):
        raise RuntimeError(words)


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="descriptor"),
        naming_what_fits(None, TrainConfig(data="here", image_size=64)),
    ):
        raise RuntimeError("could not create a primitive descriptor for a convolution")
