import hashlib
import io
import pickle
import shutil

import pytest
import torch

from boxwright.inputs import Predictor
from boxwright.runtime import ArchiveError, open_bundle
from boxwright.runtime.bundle import CHECKSUMS, MANIFEST, SPEC, WEIGHTS
from boxwright.runtime.pickled import refuse_code


def test_run_archive_and_unpacked_archive_are_the_same_model(run, mar, tmp_path):
    shutil.unpack_archive(mar, tmp_path, "zip")
    bundles = [open_bundle(place) for place in (run, mar, tmp_path)]
    assert len({bundle.spec.contract for bundle in bundles}) == 1
    assert len({bundle.weights for bundle in bundles}) == 1


@pytest.fixture
def unpacked(mar, tmp_path):
    shutil.unpack_archive(mar, tmp_path / "unpacked", "zip")
    return tmp_path / "unpacked"


@pytest.mark.parametrize("name", [SPEC, WEIGHTS, MANIFEST, "handler.py", "boxwright_runtime/bundle.py"])
def test_an_unpacked_archive_is_held_against_its_checksums(unpacked, name):
    with (unpacked / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArchiveError, match=f"'{name}' does not match its SHA-256"):
        open_bundle(unpacked)
    (unpacked / name).unlink()
    with pytest.raises(ArchiveError, match=f"holds no {name}"):
        open_bundle(unpacked)


def test_what_is_not_listed_in_an_unpacked_archive_is_not_looked_at(unpacked, mar):
    (unpacked / "__pycache__").mkdir()
    (unpacked / "__pycache__" / "handler.pyc").write_bytes(b"")
    bundle = open_bundle(unpacked)
    assert bundle.members == open_bundle(mar).members
    with pytest.raises(ArchiveError, match="holds no __pycache__"):
        bundle.read("__pycache__/handler.pyc")


def test_checksums_do_not_lead_out_of_an_unpacked_archive(unpacked, tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    digest = hashlib.sha256(b"").hexdigest()
    with (unpacked / CHECKSUMS).open("a") as file:
        file.write(f"{digest}  ../secret\n")
    with pytest.raises(ArchiveError, match="malformed"):
        open_bundle(unpacked)


def test_a_member_is_read_as_it_was_listed(mar):
    bundle = open_bundle(mar)
    for name, digest in bundle.members.items():
        assert hashlib.sha256(bundle.read(name)).hexdigest() == digest
    with pytest.raises(ArchiveError, match="holds no nothing"):
        bundle.read("nothing")


@pytest.mark.parametrize("weights", [b".", b"", b"nonsense"])
def test_nonsense_for_weights_is_refused(run, tmp_path, weights):
    target = tmp_path / "run"
    shutil.copytree(run, target)
    (target / WEIGHTS).write_bytes(weights)
    with pytest.raises(ArchiveError, match="plain state dict"):
        Predictor(target)


def test_weights_that_are_cut_short_are_called_that():
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1000)}, buffer)
    refuse_code(buffer, "run")
    for size in (4, 100, len(buffer.getvalue()) - 1):
        with pytest.raises(ArchiveError, match=r"run: the weights are cut short or damaged: .*Copy the whole file"):
            refuse_code(io.BytesIO(buffer.getvalue()[:size]), "run")


def test_code_in_the_weights_is_not_run(run, tmp_path):
    target = tmp_path / "run"
    shutil.copytree(run, target)
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self):
            return (open, (str(touched), "w"))

    buffer = io.BytesIO()
    torch.save({"weight": Evil()}, buffer, pickle_module=pickle)
    (target / WEIGHTS).write_bytes(buffer.getvalue())
    with pytest.raises(ArchiveError, match="plain state dict"):
        Predictor(target)
    assert not touched.exists()


def test_weights_of_another_network_are_refused(run, tmp_path):
    target = tmp_path / "run"
    shutil.copytree(run, target)
    torch.save({"weight": torch.zeros(1)}, target / WEIGHTS)
    with pytest.raises(ArchiveError, match="do not fit fasterrcnn_tiny_fpn"):
        Predictor(target)


def test_what_is_no_model_is_said_so(tmp_path):
    for place, culprit in ((tmp_path, "spec.json"), (tmp_path / "nothing", "no such")):
        with pytest.raises(ArchiveError, match=culprit):
            open_bundle(place)
