import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import boxwright
from boxwright.archiving import write_archive
from boxwright.runtime import ArchiveError, ConfigError, open_bundle


def test_the_same_run_gives_the_same_bytes(run, mar, tmp_path):
    assert boxwright.archive(run, store=tmp_path).read_bytes() == mar.read_bytes()


def test_the_archive_holds_what_torchserve_wants(mar, run):
    with zipfile.ZipFile(mar) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        labels = json.loads(archive.read("index_to_name.json"))
        weights = archive.read("model_state_dict.pth")
    assert {"handler.py", "model.py", "boxwright.json", "boxwright_runtime/__init__.py"} <= names
    model = manifest["model"]
    assert all(model[key] in names for key in ("serializedFile", "handler", "modelFile"))
    assert (model["modelName"], model["modelVersion"]) == ("tiny", "1.0")
    assert labels == {"0": "__background__", "1": "circle", "2": "square", "3": "triangle"}
    assert weights == (run / "model_state_dict.pth").read_bytes()


def test_checksums_can_be_checked_by_hand(mar, tmp_path):
    with zipfile.ZipFile(mar) as archive:
        archive.extractall(tmp_path)
    checked = subprocess.run(["sha256sum", "-c", "MAR-INF/SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_the_model_file_loads_the_state_dict(mar, tmp_path):
    """As torch-model-archiver's users load it: one class, no arguments, in a process without boxwright's path."""
    with zipfile.ZipFile(mar) as archive:
        archive.extractall(tmp_path)
    code = (
        "import inspect, torch, model;"
        "classes = [one for _, one in inspect.getmembers(model, inspect.isclass) if one.__module__ == 'model'];"
        "assert len(classes) == 1, classes;"
        "network = classes[0]();"
        "network.load_state_dict(torch.load('model_state_dict.pth', weights_only=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_name_and_version_are_the_callers(run, tmp_path):
    mar = boxwright.archive(run, name="shapes", version="2.1", store=tmp_path)
    bundle = open_bundle(mar)
    assert mar.name == "shapes.mar"
    assert (bundle.spec.name, bundle.version) == ("shapes", "2.1")


@pytest.mark.parametrize("options", [{"name": "a b"}, {"name": "../x"}, {"version": "1/2"}])
def test_names_that_do_not_fit_a_url_are_refused(run, tmp_path, options):
    with pytest.raises(ConfigError, match="does not fit"):
        boxwright.archive(run, store=tmp_path, **options)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match=r"spec\.json"):
        boxwright.archive(tmp_path, store=tmp_path)


def test_no_part_is_left_where_writing_fails(run, tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(ArchiveError, match="cannot be written"):
        boxwright.archive(run, store=tmp_path / "store")
    (tmp_path / "tiny.mar").mkdir()  # the rename fails after the part was written
    with pytest.raises(ArchiveError, match="cannot be written"):
        boxwright.archive(run, store=tmp_path)
    assert list(tmp_path.glob("*.part")) == []


def test_the_runtime_copy_is_the_runtime(mar):
    source = Path(boxwright.__file__).parent / "runtime"
    with zipfile.ZipFile(mar) as archive:
        for path in source.glob("*.py"):
            assert archive.read(f"boxwright_runtime/{path.name}") == path.read_bytes()


def test_further_members_are_listed_and_read_back(run, tmp_path):
    bundle = open_bundle(run)
    written = write_archive(bundle.spec, bundle.weights, "2.0", tmp_path, {"model.onnx": b"a graph"})
    reread = open_bundle(written)
    assert reread.read("model.onnx") == b"a graph"
    assert (reread.spec, reread.version) == (bundle.spec, "2.0")


def test_further_members_do_not_replace_the_archives_own(run, tmp_path):
    bundle = open_bundle(run)
    with pytest.raises(ArchiveError, match=r"'handler\.py'"):
        write_archive(bundle.spec, bundle.weights, "1.0", tmp_path, {"handler.py": b""})
    assert list(tmp_path.iterdir()) == []
