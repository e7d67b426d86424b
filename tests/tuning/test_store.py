import json
import shutil
from dataclasses import replace

import pytest

from boxwright.host.machine import describe_machine
from boxwright.runtime import Execution, open_bundle
from boxwright.tuning.store import bench_file, best_run, read_entry, write_entry
from support.exported import with_export

WHEN = "2026-01-01T00:00:00+00:00"
MACHINE = describe_machine()
TORCH = (Execution("torch", "fp32"),)


def a_run(speed=10.0, latency=100.0, **changed):
    named = {"backend": "torch", "precision": "fp32", "threads": 2, "sessions": 1, "batch": 1}
    return {**named, "images_per_s": speed, "latency_ms_p50": latency, **changed}


@pytest.fixture
def archive(mar, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    return shutil.copy(mar, tmp_path / "store" / "tiny.mar")


def write(archive, *runs, machine=MACHINE):
    return write_entry(archive, open_bundle(archive), machine, runs, WHEN)


def read(archive, machine=MACHINE):
    return read_entry(archive, open_bundle(archive), machine)


def test_what_is_written_is_read(archive):
    assert read(archive).runs == ()
    assert write(archive, a_run()).path == bench_file(archive) == archive.with_name("tiny.bench.json")
    assert read(archive).runs == (a_run(),)
    assert sorted(path.name for path in archive.parent.iterdir()) == ["tiny.bench.json", "tiny.mar"]


def test_another_machines_entry_is_not_used_and_stays(archive):
    faster = replace(MACHINE, processor="another")
    write(archive, a_run(99.0), machine=faster)
    assert read(archive).runs == ()
    write(archive, a_run(1.0))
    assert read(archive).runs == (a_run(1.0),)
    assert read(archive, faster).runs == (a_run(99.0),)


@pytest.mark.parametrize(
    "change",
    [{"processor": "x"}, {"cores": 99}, {"instruction_sets": ("x",)}, {"versions": {"torch": "1.0"}}, {"gpu": "x"}],
)
def test_what_decides_the_speed_is_in_the_fingerprint(change):
    assert replace(MACHINE, **change).fingerprint != MACHINE.fingerprint
    assert replace(MACHINE, memory_bytes=1, system="x", python="3").fingerprint == MACHINE.fingerprint


def test_a_changed_archive_finds_nothing_and_its_file_is_written_anew(archive, mar):
    write(archive, a_run(), machine=replace(MACHINE, processor="another"))
    write(archive, a_run())
    with_export(mar, archive, "onnxruntime-fp32")
    assert (read(archive).runs, read(archive).notes) == ((), ())
    write(archive, a_run(3.0))
    assert len(json.loads(bench_file(archive).read_text())["machines"]) == 1


def test_variants_measured_anew_replace_and_others_stay(archive):
    other = a_run(backend="openvino", precision="bf16")
    write(archive, other, a_run(threads=2), a_run(threads=1))
    write(archive, a_run(7.0))
    assert read(archive).runs == (a_run(7.0), other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe nonsense",
        b"[" * 100_000,
        b"[]",
        b'{"format": 2, "machines": {}}',
        b'{"format": 1}',
        b'{"format": 1, "machines": {"a": []}}',
        b'{"format": 1, "machines": {"a": {"archive": "x", "runs": [{}]}}}',
        json.dumps({"format": 1, "machines": {"a": {"archive": "x", "runs": [a_run(float("nan"))]}}}).encode(),
        json.dumps({"format": 1, "machines": {"a": {"archive": "x", "runs": [a_run(sessions=10**6)]}}}).encode(),
        json.dumps({"format": 1, "machines": {"a": {"archive": "x", "runs": [a_run(threads="2")]}}}).encode(),
        json.dumps({"format": 1, "machines": {"a": {"archive": "x", "runs": [a_run(backend="rm")]}}}).encode(),
    ],
)
def test_a_broken_or_foreign_file_is_one_sentence_and_is_replaced(archive, content):
    bench_file(archive).write_bytes(content)
    found = read(archive)
    assert found.runs == ()
    assert len(found.notes) == 1
    assert "tiny.bench.json is ignored: " in found.notes[0]
    assert write(archive, a_run()).path == bench_file(archive)
    assert (read(archive).runs, read(archive).notes) == ((a_run(),), ())


def test_where_nothing_can_be_written_the_cache_folder_is_used(archive, tmp_path):
    bench_file(archive).mkdir()  # root may write everywhere else
    stored = write(archive, a_run())
    assert stored.path is not None
    assert stored.path.parent == tmp_path / "cache" / "boxwright"
    assert any("tiny.bench.json cannot be written" in note for note in stored.notes)
    assert read(archive).runs == (a_run(),)
    assert read(archive).path == stored.path


def test_what_was_measured_last_counts_wherever_it_lies(archive, monkeypatch):
    write(archive, a_run(speed=1.0))
    kept = bench_file(archive).read_bytes()
    bench_file(archive).unlink()
    bench_file(archive).mkdir()
    later = write_entry(archive, open_bundle(archive), MACHINE, (a_run(speed=2.0),), "2026-01-02T00:00:00+00:00")
    assert later.path.parent.name == "boxwright"
    bench_file(archive).rmdir()
    bench_file(archive).write_bytes(kept)
    assert read(archive).runs == (a_run(speed=2.0),)


def test_what_could_not_be_measured_anew_is_no_longer_kept(archive):
    write(archive, a_run(), a_run(backend="onnxruntime"))
    failed = {"backend": "torch", "precision": "fp32", "threads": 2, "sessions": 1, "batch": 1, "reason": "no memory"}
    other = a_run(backend="openvino")
    kept = write_entry(archive, open_bundle(archive), MACHINE, (other,), WHEN, (failed,))
    assert kept.runs == (other, a_run(backend="onnxruntime"))


def test_nowhere_to_write_is_no_error(archive, tmp_path):
    bench_file(archive).mkdir()
    (tmp_path / "cache").write_text("a file")
    assert write(archive, a_run()).path is None


def test_the_best_answers_most_and_among_equals_soonest():
    quick, many, slow = a_run(96.0, 10.0), a_run(100.0, 20.0, threads=1, sessions=2), a_run(94.0, 1.0)
    assert best_run([slow, many, quick], TORCH) == quick
    assert best_run([many, slow], TORCH) == many
    assert best_run([many, a_run(500.0, batch=4), a_run(500.0, backend="openvino")], TORCH) == many
    assert best_run([a_run(batch=4)], TORCH) is None
