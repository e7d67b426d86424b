"""What stopped people in their first quarter of an hour."""

import json
import shutil
import socket
import zipfile
from dataclasses import replace

import pytest

import boxwright as package
from boxwright.data import fingerprint, read_folder
from boxwright.runtime import ArchiveError, ConfigError, DataError, ModelError, ModelSpec, PictureError
from support.command_line import boxwright


@pytest.fixture
def picture(demo_data):
    return next((demo_data / "test").glob("*.jpg"))


@pytest.fixture
def nothing_slow(monkeypatch):
    """No picture may be opened and no network built before a mistake is told."""

    def too_late(*args, **kwargs):
        raise AssertionError("something slow began")

    monkeypatch.setattr("boxwright.data.checks.inspection.scan_pictures", too_late)
    monkeypatch.setattr("boxwright.runtime.bundle._open_archive", too_late)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"model": "fasterrcn_tiny"}, ModelError, "Did you mean"),
        ({"name": "taken"}, ConfigError, "taken exists"),
        ({"model": "fasterrcnn_tiny_fpn", "image_size": 300}, ConfigError, "multiple of 32"),
        ({"weights": "nowhere.pth"}, ModelError, "does not exist"),
        ({"objective": "beauty"}, ConfigError, "beauty"),
        ({"out": "a-file/runs"}, ConfigError, "is a file"),
        ({"checkpoint_out": "a-file/best"}, ConfigError, "is a file"),
        ({"state_dict_out": "a-file/best"}, ConfigError, "is a file"),
        ({"cache": "disk", "cache_dir": "a-file/cache"}, ConfigError, "is a file"),
        ({"model": "fasterrcnn_tiny_fpn", "weights": "coco"}, ModelError, "There are no 'coco' weights"),
        ({"model": "fasterrcnn_tiny_fpn", "weights": "a-file"}, ModelError, "a-file"),
        ({"model": "fasterrcnn_tiny_fpn", "weights": "."}, ModelError, "not of a run"),
        ({"model": "fasterrcnn_tiny_fpn", "trainable_stages": 9}, ConfigError, "has 4"),
        ({"data": "nowhere"}, DataError, "no such folder"),
    ],
)
def test_cheap_mistakes_come_before_the_data_is_checked(
    settings, error, words, demo_data, tmp_path, nothing_slow, monkeypatch
):
    (tmp_path / "runs" / "taken" / "checkpoints").mkdir(parents=True)
    (tmp_path / "a-file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        package.train(**{"data": demo_data, "wandb": "off", **settings})


def test_a_folder_in_the_place_of_the_settings_is_the_data(demo_data, nothing_slow):
    with pytest.raises(ModelError, match="Did you mean"):
        package.train(demo_data, model="fasterrcn_tiny")
    with pytest.raises(ConfigError, match="two folders"):
        package.train(demo_data, data=demo_data)


@pytest.mark.parametrize("name", ["data.yaml", "train/_annotations.coco.json"])
def test_a_file_in_the_data_folder_leads_to_the_folder(name, demo_data, tmp_path):
    folder = shutil.copytree(demo_data, tmp_path / "data", copy_function=shutil.copyfile)
    (folder / "data.yaml").write_text("train: train/images\n")
    with pytest.raises(DataError, match=f"Give the folder that holds train/ and valid/: {folder}$"):
        package.train(data=folder / name)


def test_a_set_without_validation_is_refused_at_once(demo_data, tmp_path, nothing_slow):
    folder = shutil.copytree(demo_data, tmp_path / "data", copy_function=shutil.copyfile)
    shutil.rmtree(folder / "valid")
    with pytest.raises(DataError, match="has no folder 'valid'") as refused:
        package.train(data=folder)
    assert "boxwright convert" in refused.value.remedy


def test_a_file_of_yolo_leads_to_convert(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images/train\n")
    with pytest.raises(DataError, match=f"boxwright convert {tmp_path} OUT"):
        package.train(data=tmp_path / "data.yaml")


def test_predict_says_that_nothing_is_there_before_it_opens_a_model(tmp_path, monkeypatch, nothing_slow):
    from boxwright.cli.predict import predict

    with pytest.raises(PictureError, match=r"'nope\.jpg' cannot be read: No such file"):
        predict(tmp_path / "no.mar", ["nope.jpg", "neither.jpg"])
    with pytest.raises(PictureError, match="Picture '' cannot be read"):
        predict(tmp_path / "no.mar", [""])  # an empty variable of a script


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "m.mar", "--data", "d", "--json", "a-file/x.json"),
        ("evaluate", "m.mar", "--data", "d", "--html", "a-file/x.html"),
        ("compare", "one", "two", "--html", "a-file/x.html"),
        ("bench", "m.mar", "--json", "a-file/x.json"),
        ("predict", "m.mar", "a-file", "--out", "a-file"),
        ("predict", "m.mar", "a-file", "--json", "a-file/x.json"),
        ("export", "run", "--out", "a-file/x.onnx"),
        ("archive", "run", "--store", "a-file"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(arguments, tmp_path):
    (tmp_path / "a-file").touch()
    done = boxwright(*arguments, cwd=tmp_path)  # the model is not there: it would be the next error
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
    assert "a-file is a file. Choose another folder." in " ".join(done.stderr.split())


def test_a_command_that_is_told_can_be_pasted(tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "data.yaml").write_text("names: [a]")
    with pytest.raises(DataError, match=r"boxwright convert '.*/my data' OUT"):
        read_folder(folder / "data.yaml")
    with pytest.raises(ArchiveError, match=r"boxwright archive '.*/my data'"):
        package.inspect(folder)


def test_predict_says_from_which_score_on_nothing_was_found(mar, picture):
    done = boxwright("predict", mar, picture, "--threshold", 1.0)
    assert done.stdout == f"{picture}: 0 found from score 1.000 on\n"


def test_predict_names_what_it_wrote(mar, picture, tmp_path):
    done = boxwright("predict", mar, picture, "--out", tmp_path / "drawn", "--json", tmp_path / "f.json")
    assert f"Drawn: {tmp_path / 'drawn'}\nJSON: {tmp_path / 'f.json'}\n" in done.stderr


def test_a_run_knows_its_data(run, demo_data, tmp_path):
    done = boxwright("evaluate", run, "--split", "val", "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Data: {demo_data.resolve()}\nvalid: 16 pictures")
    assert f"JSON: {tmp_path / 'e.json'}\nPage: {tmp_path / 'e.html'}\n" in done.stdout
    with_folder = boxwright("evaluate", run, "--data", demo_data, "--json", tmp_path / "f.json")
    assert "Data:" not in with_folder.stdout
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("e.json", "f.json"))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_what_does_not_know_its_data_is_told_so(mar, tmp_path):
    with pytest.raises(DataError, match="an archive does not say where its data lies"):
        package.evaluate(mar)
    (tmp_path / "config.yaml").write_text("data: gone\n")
    with pytest.raises(DataError, match="its data was at gone, which is gone"):
        package.evaluate(tmp_path)


def test_an_export_has_a_name_of_its_own(run, tmp_path):
    done = boxwright("export", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nExport: exports/tiny.onnx\nNext: run it with onnxruntime alone" in done.stdout
    assert (tmp_path / "exports" / "tiny.onnx").stat().st_size > 10_000
    assert "Format 'onx' is unknown" in boxwright("export", run, "--to", "onx", cwd=tmp_path).stderr


def test_a_run_can_be_measured_and_is_not_kept(run, tmp_path):
    beside = sorted(run.parent.iterdir())
    done = boxwright("bench", run, "--seconds", 0.2, "--rounds", 1, "--batch", 1, "--backend", "torch")
    assert done.returncode == 0, done.stderr
    assert " processes, about " in done.stdout
    assert "Not stored" in done.stdout
    assert sorted(run.parent.iterdir()) == beside


def test_an_unfinished_run_is_packed_with_a_word(run, tmp_path):
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    spec = ModelSpec.load(unfinished / "spec.json")
    early = replace(spec, provenance={**spec.provenance, "finished": False})
    (unfinished / "spec.json").write_text(early.to_json())
    done = boxwright("archive", unfinished, "--no-export", "--store", tmp_path)
    assert done.returncode == 0, done.stderr
    best = spec.provenance["best_epoch"] + 1
    assert f"Note: the run ended early; this is its best epoch so far, epoch {best} of 4." in done.stdout
    assert f"boxwright train --resume {unfinished}" in done.stdout
    assert done.stdout.endswith(f"Archive: {tmp_path / 'tiny.mar'}\nNext: boxwright serve {tmp_path / 'tiny.mar'}\n")
    finished = boxwright("archive", run, "--no-export", "--store", tmp_path)
    assert "ended early" not in finished.stdout


def test_a_taken_port_is_told_before_a_model_is_opened(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = boxwright("serve", tmp_path / "no.mar", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "Choose another --port" in done.stderr


@pytest.fixture
def zipped(demo_data, tmp_path, monkeypatch):
    """The data as Roboflow's download."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "shapes.v1.coco.zip", "w") as archive:
        for one in sorted(demo_data.rglob("*")):
            archive.write(one, one.relative_to(demo_data))
    return tmp_path / "shapes.v1.coco.zip"


@pytest.fixture
def broken_zip(demo_data, tmp_path, monkeypatch):
    """A download with an impossible class, in a folder whose name has a blank."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "my sets").mkdir()
    with zipfile.ZipFile(tmp_path / "my sets" / "shapes.zip", "w") as archive:
        for one in sorted(demo_data.rglob("*")):
            if one.parent.name == "train" and one.suffix == ".json":
                document = json.loads(one.read_text())
                document["annotations"][0]["category_id"] = 99
                document["annotations"][1]["image_id"] = 9999
                archive.writestr("train/_annotations.coco.json", json.dumps(document))
            elif one.is_file():
                archive.write(one, one.relative_to(demo_data))
    return "my sets/shapes.zip"


@pytest.mark.parametrize("verb", ["train", "check", "convert"])
def test_what_is_wrong_in_a_download_is_said_of_the_download(broken_zip, verb, tmp_path):
    written = {"train": [], "check": ["--json", "found.json", "--html", "found.html"], "convert": ["out"]}
    done = boxwright(verb, broken_zip, *written[verb], cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert str(tmp_path / "cache") not in done.stdout + done.stderr
    if verb == "check":
        assert json.loads((tmp_path / "found.json").read_text())["data"] == broken_zip
        assert str(tmp_path / "cache") not in (tmp_path / "found.html").read_text()
        return
    assert done.stderr.startswith(f"Error: {broken_zip}")
    if verb == "train":  # what it says to type can be pasted
        assert done.stderr.endswith("See: boxwright check 'my sets/shapes.zip'\n")


def test_check_ends_with_what_comes_next(demo_data, tmp_path):
    assert boxwright("check", demo_data).stdout.endswith(f"\nNext: boxwright train {demo_data}\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_annotations.coco.json").write_text("{")
    assert "Next:" not in boxwright("check", tmp_path).stdout


def test_a_download_is_checked_and_trained_on_as_it_is(zipped, tmp_path, demo_data):
    found = package.check(zipped)
    assert [str(one) for one in found.findings] == [str(one) for one in package.check(demo_data).findings]
    settings = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "wandb": "off", "batch_size": 8, "workers": 1}
    run = package.train(zipped, epochs=1, out=tmp_path / "runs", name="zip", **settings)
    assert f"data: {zipped}\n" in (run.folder / "config.yaml").read_text()  # not the place in the cache
    assert package.evaluate(run.folder).figures.map == run.spec.measured["valid"]["map"]
    contenders, _ = package.compare([run.folder, run.folder], zipped)
    assert contenders[0].results.split == "valid"
    assert run.spec.provenance["data_fingerprint"] == fingerprint(read_folder(demo_data))


@pytest.mark.parametrize(
    ("given", "lies"), [("a", "runs/a"), ("b", "model-store/b.mar"), ("x/b.mar", "model-store/b.mar")]
)
def test_a_model_is_looked_for_where_they_lie(given, lies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "model-store").mkdir()
    (tmp_path / "model-store" / "b.mar").touch()
    with pytest.raises(ArchiveError, match=f"{given}: no such file or folder. Did you mean {lies}\\?"):
        package.Predictor(given)


def test_verbs_name_what_is_likely_typed_next(run, mar, demo_data, tmp_path):
    archive, serve = f"Next: boxwright archive {run}", f"Next: boxwright serve {mar}"
    for arguments, line in (
        (("evaluate", run), archive),
        (("evaluate", mar, "--data", demo_data), serve),
        (("threshold", run), archive),
        (("threshold", mar), serve),
        (("compare", run, run), archive),
    ):
        done = boxwright(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == line


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_the_data_that_a_run_names_is_not_written_over(verb, run, demo_data, tmp_path):
    annotations = demo_data / "valid" / "_annotations.coco.json"
    before = annotations.read_bytes()
    done = boxwright(verb, *[run] * (1 + (verb == "compare")), "--json", annotations, cwd=tmp_path)
    assert annotations.read_bytes() == before
    assert done.returncode == 2
    assert "would overwrite a file of" in done.stderr


def test_openvinos_weights_replace_nothing_else(run, tmp_path):
    (tmp_path / "x.bin").write_text("mine")
    done = boxwright("export", run, "--to", "openvino", "--out", "x.xml", cwd=tmp_path)
    assert done.returncode == 2
    assert "--out x.xml: its weights would replace x.bin" in done.stderr
    assert (tmp_path / "x.bin").read_text() == "mine"
