import io
import pickle
import shutil
import zipfile

import pytest
import torch

from boxwright.runtime import ArchiveError, Predictor, open_bundle
from boxwright.runtime.bundle import CHECKSUMS, MANIFEST, SPEC, WEIGHTS


def rewrite(mar, target, change=lambda members: members, extra=()):
    """A copy of an archive with its members changed, checksums left as they were."""
    with zipfile.ZipFile(mar) as old:
        members = change({name: old.read(name) for name in old.namelist()})
    with zipfile.ZipFile(target, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
        for entry, content in extra:
            new.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return target


def test_run_archive_and_unpacked_archive_are_the_same_model(run, mar, tmp_path):
    shutil.unpack_archive(mar, tmp_path, "zip")
    bundles = [open_bundle(place) for place in (run, mar, tmp_path)]
    assert len({bundle.spec.contract for bundle in bundles}) == 1
    assert len({bundle.weights for bundle in bundles}) == 1


def symlink():
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize("entry", ["../evil.py", "/etc/evil", "a/../../evil", "a\\..\\evil", symlink()])
def test_members_that_leave_the_archive_are_refused(mar, tmp_path, entry):
    hostile = rewrite(mar, tmp_path / "hostile.mar", extra=[(entry, b"x")])
    with pytest.raises(ArchiveError, match="unsafe"):
        open_bundle(hostile)


def test_a_bomb_is_refused_before_it_is_unpacked(mar, tmp_path):
    hostile = rewrite(mar, tmp_path / "bomb.mar", extra=[("bomb", b"\0" * 20_000_000)])
    with pytest.raises(ArchiveError, match="unsafe"):
        open_bundle(hostile)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS, MANIFEST])
def test_an_altered_member_is_refused(mar, tmp_path, name):
    altered = rewrite(mar, tmp_path / "a.mar", lambda members: {**members, name: members[name] + b" "})
    with pytest.raises(ArchiveError, match="SHA-256"):
        open_bundle(altered)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS, MANIFEST, CHECKSUMS])
def test_a_missing_member_is_named(mar, tmp_path, name):
    lacking = rewrite(mar, tmp_path / "a.mar", lambda members: {k: v for k, v in members.items() if k != name})
    with pytest.raises(ArchiveError, match=name):
        open_bundle(lacking)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused(mar, tmp_path, share):
    whole = mar.read_bytes()
    cut = tmp_path / "cut.mar"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ArchiveError, match=r"cut\.mar"):
        open_bundle(cut)


@pytest.mark.parametrize("weights", [b".", b"", b"nonsense", b"PK\x03\x04"])
def test_nonsense_for_weights_is_refused(run, tmp_path, weights):
    target = tmp_path / "run"
    shutil.copytree(run, target)
    (target / WEIGHTS).write_bytes(weights)
    with pytest.raises(ArchiveError, match="plain state dict"):
        Predictor(target)


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
