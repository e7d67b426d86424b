"""What a recipe adds to plain training, each seen to act in real runs."""

import io
import json
import re

import lightning as L
import numpy as np
import pytest
import torch
from rich.console import Console

import boxwright
from boxwright.config import TrainConfig
from boxwright.data import ANNOTATIONS, draw_demo_data, read_folder
from boxwright.runtime import ConfigError, InputSpec, ModelError
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import callbacks, resume
from boxwright.training.averaging import MovingAverage
from boxwright.training.checkpoints import read_checkpoint
from boxwright.training.data_module import DetectionData, Loading
from boxwright.training.module import rescaled

TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "batch_size": 4,
    "wandb": "off",
    "workers": 0,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 12, "valid": 4})


def weights_of(run, key="state_dict"):
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    return {name: value.double() for name, value in checkpoint[key].items() if value.is_floating_point()}


def trainer_with(callback):
    """A factory of trainers that also call ``callback``."""
    return lambda **options: L.Trainer(**{**options, "callbacks": [*options["callbacks"], callback]})


def test_the_average_is_what_is_evaluated_and_kept(small, tmp_path):
    run = boxwright.train(data=small, out=tmp_path, name="averaged", epochs=2, ema=0.9, **TINY).folder
    averaged, current = weights_of(run), weights_of(run, "current_model_state")
    assert any((averaged[name] - current[name]).abs().max() > 1e-4 for name in averaged)
    logged = max((line for line in read_metrics(run) if "val/f2" in line), key=lambda line: line["val/f2"])
    assert boxwright.evaluate(run, small).to_document()["map"] == logged["val/map"]


def test_the_average_is_the_one_on_paper(small, tmp_path):
    """Recomputed from the weights after every step of the optimizer."""
    seen = []

    class Remember(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen.append({name: value.detach().double().clone() for name, value in pl_module.named_parameters()})

    settings = {**TINY, "epochs": 2, "ema": 0.6}
    run = boxwright.train(data=small, out=tmp_path, make_trainer=trainer_with(Remember()), **settings).folder
    expected = seen[0]
    for count, values in enumerate(seen[1:], start=1):
        decay = min(0.6, (1 + count) / (10 + count))
        expected = {name: decay * expected[name] + (1 - decay) * values[name] for name in expected}
    kept = weights_of(run)
    assert all(torch.allclose(kept[name], value, atol=1e-5) for name, value in expected.items())


def test_a_resumed_average_goes_on(small, tmp_path):
    settings = {**TINY, "epochs": 3, "ema": 0.9}
    whole = boxwright.train(data=small, out=tmp_path, name="whole", **settings).folder

    class Stop(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    part = boxwright.train(data=small, out=tmp_path, name="part", make_trainer=trainer_with(Stop()), **settings)
    assert part.interrupted
    resume(part.folder, console=Console(quiet=True))
    for key in ("state_dict", "current_model_state"):
        one, other = weights_of(whole, key), weights_of(part.folder, key)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_counters_are_taken_over_and_a_young_average_forgets_fast():
    average = MovingAverage(0.999)
    mean, count = torch.tensor([1.0]), torch.tensor([1])
    average._update([mean], [torch.tensor([2.0])], 1)
    average._update([count], [torch.tensor([7])], 1)
    assert mean.item() == pytest.approx(1 + (1 - 2 / 11))
    assert count.item() == 7


def test_training_ends_when_nothing_gets_better(small, tmp_path, capsys):
    run = boxwright.train(data=small, out=tmp_path, epochs=9, patience=2, learning_rate=1e-12, **TINY)
    epochs = {line["epoch"] for line in read_metrics(run.folder) if "val/f2" in line}
    assert epochs == {0, 1, 2}
    assert run.spec.provenance["finished"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "or less: it ends after 2 epochs without a better val/f2 (patience)" in printed
    assert "2 epochs without a better val/f2: training ends." in printed


def test_gradients_of_several_batches_make_one_step(small, tmp_path):
    run = boxwright.train(data=small, out=tmp_path, epochs=1, total_batch=12, **TINY).folder
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 1


def test_a_total_that_is_not_of_whole_batches_is_refused(small):
    with pytest.raises(ConfigError, match="multiple of batch_size, which is 4"):
        boxwright.train(data=small, total_batch=6, **TINY)


def test_boxes_follow_the_canvas_to_another_size():
    canvases = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    canvases[:, :, 16:32, 24:48] = 255
    larger, (boxes,) = rescaled(canvases, [torch.tensor([[24.0, 16.0, 48.0, 32.0]])], 1.6, 32)
    assert larger.shape[-2:] == (96, 160)
    x1, y1, x2, y2 = boxes[0].round().int().tolist()
    assert (x1, y1, x2, y2) == (40, 24, 80, 48)
    assert larger[0, 0, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 200
    assert larger[0, 0, : y1 - 2].max() < 50
    assert rescaled(canvases, [], 0.01, 32)[0].shape[-2:] == (32, 32)


def test_batches_come_in_several_sizes_and_validation_in_one(small, tmp_path):
    sizes = {"train": set(), "valid": set()}

    class Watch(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            def note(module, inputs):
                sizes["train" if module.training else "valid"].add(tuple(inputs[0].shape[-2:]))

            pl_module.network.backbone.register_forward_pre_hook(note)

    settings = {**TINY, "epochs": 4, "multi_scale": 0.4}
    boxwright.train(data=small, out=tmp_path, make_trainer=trainer_with(Watch()), **settings)
    assert sizes["valid"] == {(96, 96)}
    assert sizes["train"] == {(64, 64), (96, 96), (128, 128)}


def test_the_last_epochs_mix_no_pictures(small):
    folder = read_folder(small)
    loading = Loading("strong", 4, 0, seed=0, calm_from=1)
    loader = DetectionData(folder, InputSpec(96, 96), loading).train_dataloader()
    unmixed = DetectionData(folder, InputSpec(96, 96), Loading("strong", 4, 0, seed=0, calm_from=0)).train_dataloader()

    def boxes(loader, epoch):
        loader.batch_sampler.sampler.set_epoch(epoch)
        return [one.tolist() for batch in loader for one in batch.boxes]

    assert boxes(loader, 0) != boxes(unmixed, 0)
    assert boxes(loader, 1) == boxes(unmixed, 1)


def test_rare_classes_come_more_often_each_time_augmented_otherwise(small, tmp_path):
    document = json.loads((small / "train" / ANNOTATIONS).read_text())
    rare = document["images"][0]["id"]
    for one in document["annotations"]:
        one["category_id"] = document["categories"][1 if one["image_id"] == rare else 0]["id"]
    folder = tmp_path / "rare"
    (folder / "valid").mkdir(parents=True)
    for split in ("train", "valid"):
        (folder / split).mkdir(exist_ok=True)
        for file in (small / split).iterdir():
            (folder / split / file.name).write_bytes(file.read_bytes())
    (folder / "train" / ANNOTATIONS).write_text(json.dumps(document))
    data = read_folder(folder)
    loading = Loading("standard", 4, 0, seed=0, repeat_threshold=1 / 3)  # sqrt((1/3) / (1/12)) = 2
    batches = list(DetectionData(data, InputSpec(96, 96), loading).train_dataloader())
    indices = [index for batch in batches for index in batch.indices]
    assert len(indices) == 13
    assert np.bincount(indices).tolist() == [2, *[1] * 11]
    twice = [
        canvas for batch in batches for canvas, index in zip(batch.canvases, batch.indices, strict=True) if index == 0
    ]
    assert not torch.equal(*twice)


def test_batchnorms_that_learn_never_get_one_picture(small, tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size = 1: this model's BatchNorms .* Use batch_size=2"):
        boxwright.train(data=small, out=tmp_path, epochs=1, **{**TINY, "batch_size": 1})
    assert not list(tmp_path.iterdir())
    sizes = []

    class Sizes(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            sizes.append(len(batch.indices))

    settings = {**TINY, "epochs": 1, "epoch_pictures": 9}
    boxwright.train(data=small, out=tmp_path, make_trainer=trainer_with(Sizes()), **settings)
    assert sizes == [4, 5]


def test_a_sixth_of_the_epochs_is_calm_by_default(small, tmp_path):
    run = boxwright.train(data=small, out=tmp_path, epochs=1, **TINY).folder
    assert boxwright.config.load_config(run / "config.yaml").close_mosaic == 0
    assert TrainConfig(data="here").close_mosaic is None


def test_more_epochs_for_a_resumed_run_spread_the_rest_of_the_cycle(small, tmp_path):
    run = boxwright.train(data=small, out=tmp_path, epochs=2, **TINY).folder
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("epochs: 2", "epochs: 5"))
    resume(run, console=Console(quiet=True))
    rates = [line["train/learning_rate"] for line in read_metrics(run) if "train/learning_rate" in line]
    assert len(rates) == 5
    assert rates[-1] < 1e-6


class Poison(L.Callback):
    """Makes some weights infinite before certain steps."""

    def __init__(self, *steps):
        self.steps = set(steps)
        self.rates = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 in self.steps:
            with torch.no_grad():
                next(pl_module.network.parameters()).fill_(float("nan"))


def test_a_loss_that_is_not_finite_costs_some_steps_and_half_the_rate(small, tmp_path, capsys):
    poison = Poison(4)
    settings = {**TINY, "epochs": 3, "ema": 0.5}
    run = boxwright.train(data=small, out=tmp_path, make_trainer=trainer_with(poison), **settings)
    assert run.spec is not None
    output = " ".join(capsys.readouterr().out.split())
    assert "The loss became nan in step 4, on shapes_" in output
    assert "Going back to the weights after 0 steps, and on at half the learning rate" in output
    kept = torch.load(run.folder / "diverged.pt", weights_only=True)
    assert kept["canvases"].shape == (4, 3, 96, 96)
    assert len(kept["pictures"]) == len(kept["boxes"]) == 4
    plain = Poison()
    boxwright.train(data=small, out=tmp_path, name="plain", make_trainer=trainer_with(plain), **settings)
    assert poison.rates[:4] == plain.rates[:4]
    assert poison.rates[6:] == pytest.approx([rate / 2 for rate in plain.rates[6:]])
    assert all(value.isfinite().all() for value in weights_of(run.folder).values())


def test_the_second_time_ends_the_training(small, tmp_path):
    with pytest.raises(
        ModelError, match=r"The loss became nan in step 6, on .*diverged.pt. Lower learning_rate"
    ) as caught:
        boxwright.train(
            data=small, out=tmp_path, name="twice", make_trainer=trainer_with(Poison(4, 6)), epochs=3, **TINY
        )
    assert ".jpg" in str(caught.value)
    assert (tmp_path / "twice" / "spec.json").is_file()  # what was reached is kept


def test_a_log_file_gets_a_line_a_minute_with_loss_and_time_left(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(callbacks, "_SECONDS", 0.0)
    boxwright.train(data=small, out=tmp_path, epochs=2, **TINY)
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"epoch 1/2, step 2/3, loss \d+\.\d{4}, \d+ s left", line) for line in lines)
    assert any(re.fullmatch(r"epoch 2/2, validation 4/4, 0 s left", line) for line in lines)


def test_a_terminal_gets_a_bar_with_loss_and_time_left(small, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "_BLINK", 0.0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=140)
    boxwright.train(data=small, out=tmp_path, epochs=2, console=console, **TINY)
    assert re.search(r"epoch 1/2 train.*loss \d+\.\d{4}, whole run: \d+ s left", text.getvalue())
