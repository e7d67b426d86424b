"""The verbs on a data set in an S3 server give what they give on the folder."""

import json
import shutil

import pytest
import s3fs
import torch
import yaml
from rich.console import Console

import boxwright
from boxwright.data import draw_demo_data
from boxwright.host.files import cache_folder
from boxwright.runtime import DataError
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import resume
from support.command_line import boxwright as command
from support.object_store import KEYS, Bucket, object_store

TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "wandb": "off",
    "workers": 1,
    "epochs": 1,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    sizes = {"train": 6, "valid": 3, "test": 2}
    return draw_demo_data(tmp_path_factory.mktemp("small") / "shapes", sizes=sizes)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def bucket(patch, tmp_path_factory):
    with object_store() as address:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        s3fs.S3FileSystem.clear_instance_cache()
        yield Bucket(address)
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def url(bucket, small):
    return bucket.put_folder(small, "sets/shapes")


@pytest.fixture(scope="module")
def there(url, tmp_path_factory):
    """A run whose data is in the store."""
    return boxwright.train(data=url, out=tmp_path_factory.mktemp("there"), **TINY).folder


@pytest.fixture(scope="module")
def here(small, tmp_path_factory):
    """The same from a folder."""
    return boxwright.train(data=small, out=tmp_path_factory.mktemp("here"), **TINY).folder


def test_the_check_finds_the_same(bucket, small, tmp_path):
    folder = tmp_path / "wrong"
    shutil.copytree(small, folder)
    (folder / "train" / "shapes_0001.jpg").unlink()
    (folder / "train" / "shapes_0002.jpg").write_bytes(b"not a picture")
    shutil.copy(folder / "train" / "shapes_0003.jpg", folder / "valid" / "unlisted.jpg")
    (folder / "train" / "notes.txt").write_text("a note")
    (folder / "train" / ".DS_Store").write_text("of a system")
    url = bucket.put_folder(folder, "sets/wrong")
    here = command("check", folder, "--json", tmp_path / "here.json")
    there = command("check", url, "--json", tmp_path / "there.json")
    assert there.returncode == here.returncode == 1
    assert there.stdout.replace("there.json", "here.json").replace(url, str(folder)) == here.stdout
    assert f"Fetching {url}" in there.stderr
    texts = [(tmp_path / f"{name}.json").read_text() for name in ("here", "there")]
    documents = [json.loads(text.replace(url, str(folder))) for text in texts]
    assert documents[0] == documents[1]
    assert f'"data": "{url}"' in texts[1]


def test_training_gives_the_same_bits_and_the_run_names_the_url(there, here, url, small):
    left, right = (torch.load(run / "model_state_dict.pth", weights_only=True) for run in (there, here))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert (there / "detections.npz").read_bytes() == (here / "detections.npz").read_bytes()
    settings = [yaml.safe_load((run / "config.yaml").read_text()) for run in (there, here)]
    assert settings[0].pop("data") == url
    assert settings[1].pop("data") == str(small)
    for one in settings:
        del one["out"]
    assert settings[0] == settings[1]
    assert there.name == here.name == "shapes-1"


def test_no_file_of_a_run_names_the_cache(there):
    cache = str(cache_folder()).encode()
    assert not [one.name for one in there.rglob("*") if one.is_file() and cache in one.read_bytes()]
    assert (there / "report.html").read_bytes().count(b"data:image/") >= 3  # its pictures were found


def test_another_machine_goes_on(there, tmp_path):
    """One that has nothing but the run."""
    run = tmp_path / "moved"
    shutil.copytree(there, run)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "epochs": 2}))
    with pytest.MonkeyPatch.context() as other:
        other.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert resume(run, console=Console(quiet=True)).spec is not None
    assert list((tmp_path / "cache").rglob("shapes_0000.jpg"))
    assert {line["epoch"] for line in read_metrics(run)} == {0, 1}


def test_measuring_gives_the_same(there, here, url, small, tmp_path):
    for split in ("valid", "test"):
        left = boxwright.evaluate(there, url, split).to_document()
        right = boxwright.evaluate(here, small, split).to_document()
        assert {**left, "seconds": 0} == {**right, "seconds": 0}
    done = command("evaluate", there, "--data", url, "--split", "test", "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_text().count("data:image/") > 1
    contenders, _ = boxwright.compare([there, here], url, "test")
    assert len(contenders[0].results.file_names) == 2


def test_an_archive_is_proved_on_the_pictures_of_the_store(there, tmp_path):
    done = command("archive", there, "--store", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "proved" in done.stdout or "equal" in done.stdout, done.stdout


def test_a_report_without_its_store_says_why(there, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(there, run)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "data": "s3://nowhere-at-all/shapes"}))
    done = command("report", run)
    assert done.returncode == 0, done.stderr
    assert "s3://nowhere-at-all/shapes: there is no such bucket or folder; give --data" in done.stdout


def test_what_is_wrong_with_a_url_is_found_before_pytorch_is_loaded(bucket):
    with pytest.raises(DataError, match="s3://nowhere-at-all/shapes: there is no such bucket"):
        boxwright.train(data="s3://nowhere-at-all/shapes")
    done = command("train", "--data", f"s3://{bucket.name}/sets")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: s3://{bucket.name}/sets: holds no files in train/")
    assert done.stderr.count("\n") == 1
