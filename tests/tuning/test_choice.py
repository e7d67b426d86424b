"""Which way of running a model ``serve`` takes, and why."""

import datetime
import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

import boxwright
from boxwright.host.machine import describe_machine
from boxwright.inputs import Predictor
from boxwright.runtime import ArchiveError, Execution, open_bundle
from boxwright.tuning import choice, choose_execution, stored_execution
from boxwright.tuning.store import write_entry
from support.exported import graph, with_export


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "boxwright"


@pytest.fixture
def archive(mar, tmp_path):
    return with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")


def chosen(archive, **asked):
    return choose_execution(archive, open_bundle(archive), Execution(**asked))


def no_process_from_now_on(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")


def warm_up_file(cache):
    (path,) = cache.glob("a-*.warmup.json")
    return path


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """In place of the process that times: one that answers at once, for tests about what becomes of the answer."""
    program = tmp_path / "python"
    program.write_text("""#!/bin/sh\ncat > /dev/null\necho '{"batch": 1, "latencies_ms": [5.0, 4.0]}'\n""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def timed(cache, **milliseconds):
    """What the file says was measured becomes this."""
    path = warm_up_file(cache)
    document = json.loads(path.read_text())
    (entry,) = document["machines"].values()
    entry["measured"] = "2026-01-02T03:04:05+00:00"
    for record in entry["timings"]:
        record["ms"] = milliseconds[record["backend"]]
    path.write_text(json.dumps(document))


def test_a_warm_up_takes_the_fastest_graph_and_says_what_it_measured(archive):
    found = chosen(archive)
    assert found.notes == ()
    assert found.reason.startswith("fastest at warm-up (")
    fastest, other = found.reason.removeprefix("fastest at warm-up (").removesuffix(" per picture)").split(", ")
    assert fastest.split()[0] == found.execution.variant
    assert float(fastest.split()[1]) <= float(other.split()[1])
    assert {fastest.split()[0], other.split()[0]} == {"onnxruntime-fp32", "openvino-fp32"}  # and torch is not tried


def test_what_was_timed_once_is_remembered(archive, cache, monkeypatch):
    chosen(archive)
    timed(cache, onnxruntime=3.25, openvino=1.5)
    no_process_from_now_on(monkeypatch)
    again = chosen(archive)
    assert again.execution.variant == "openvino-fp32"
    assert again.reason == (
        "fastest at warm-up here on 2026-01-02 (openvino-fp32 1.5 ms, onnxruntime-fp32 3.2 ms per picture)"
    )
    assert again.notes == ()


def test_the_day_is_that_of_the_measurement(archive, monkeypatch):
    chosen(archive)
    no_process_from_now_on(monkeypatch)
    today = datetime.datetime.now(datetime.UTC).date()
    days = {today, today - datetime.timedelta(days=1)}  # midnight may have passed
    assert any(f" here on {day} (" in chosen(archive).reason for day in days)


def test_another_archive_another_machine_and_other_threads_are_measured_anew(archive, mar, cache, quick):
    chosen(archive)
    chosen(archive, threads=1, sessions=2)
    (entry,) = json.loads(warm_up_file(cache).read_text())["machines"].values()
    assert len(entry["timings"]) == 4  # one does not replace the other
    before = warm_up_file(cache)
    other = with_export(mar, archive, "openvino-fp32", "onnxruntime-fp32", quantised=graph())
    assert "here on" not in chosen(other).reason
    assert len(list(cache.iterdir())) == 2
    document = json.loads(before.read_text())
    document["machines"] = {"0" * 16: next(iter(document["machines"].values()))}
    before.write_text(json.dumps(document))
    with_export(mar, archive, "onnxruntime-fp32", "openvino-fp32")
    assert "here on" not in chosen(archive).reason
    assert len(json.loads(before.read_text())["machines"]) == 2


def test_one_way_alone_is_not_timed(archive, monkeypatch):
    no_process_from_now_on(monkeypatch)
    assert chosen(archive, backend="onnxruntime").reason == "as asked for"
    bundle = open_bundle(archive)
    unproved = replace(bundle, spec=replace(bundle.spec, exports={}))
    only = choose_execution(archive, unproved, Execution(sessions=1))
    assert (only.execution.variant, only.reason) == ("torch-fp32", "the only way to run this model here")
    asked = choose_execution(archive, unproved, Execution("onnxruntime"))
    assert (asked.execution.variant, asked.reason) == ("onnxruntime-fp32", "as asked for")


def test_beside_a_proved_graph_torch_is_not_even_timed(mar, tmp_path, cache, monkeypatch):
    no_process_from_now_on(monkeypatch)
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "torch-bf16")
    found = chosen(archive)
    assert (found.execution.variant, found.notes) == ("onnxruntime-fp32", ())
    assert found.reason == "the only proved export that can run here"
    assert not cache.exists()
    assert chosen(archive, precision="bf16").execution.variant == "torch-bf16"  # no graph has it
    assert chosen(archive, backend="torch", precision="fp32").execution.variant == "torch-fp32"


def test_torch_asked_for_by_name_is_timed_in_its_precisions(mar, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: True)
    found = chosen(with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "torch-bf16"), backend="torch")
    assert found.execution.backend == "torch"
    assert "torch-fp32 " in found.reason
    assert "torch-bf16 " in found.reason


def test_bf16_is_not_timed_where_the_processor_has_none(mar, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda: False)
    archive = with_export(mar, tmp_path / "a.mar", "openvino-fp32", "openvino-bf16", "torch-bf16")
    found = chosen(archive)
    assert (found.execution.variant, found.reason) == ("openvino-fp32", "the only proved export that can run here")
    found = chosen(archive, backend="torch", sessions=1)
    assert (found.execution.variant, found.reason) == ("torch-fp32", "as asked for")
    assert chosen(archive, precision="bf16").execution.variant == "openvino-bf16"  # asked for by name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe nonsense",
        b"[" * 100_000,
        b"[]",
        b'{"format": 2, "archive": "DIGEST", "machines": {}}',
        b'{"format": 1, "archive": "another", "machines": {}}',
        b'{"format": 1, "archive": "DIGEST", "machines": []}',
        b'{"format": 1, "archive": "DIGEST", "machines": {"a": {"measured": "2026-01-01"}}}',
        b'{"format": 1, "archive": "DIGEST", "machines": {"a": {"measured": "soon", "timings": []}}}',
        *(
            b'{"format": 1, "archive": "DIGEST", "machines": {"a": {"measured": "2026-01-01", "timings": [{'
            + record
            + b"}]}}}"
            for record in (
                b"",
                b'"backend": "rm", "precision": "fp32", "threads": 1, "sessions": 1, "ms": 1',
                b'"backend": "torch", "precision": "fp64", "threads": 1, "sessions": 1, "ms": 1',
                b'"backend": "torch", "precision": "fp32", "threads": "1", "sessions": 1, "ms": 1',
                b'"backend": "torch", "precision": "fp32", "sessions": 1, "ms": 1',
                b'"backend": "torch", "precision": "fp32", "threads": 1, "sessions": 1, "ms": NaN',
                b'"backend": "torch", "precision": "fp32", "threads": 1, "sessions": 1, "ms": -1',
                b'"backend": "torch", "precision": "fp32", "threads": 1, "sessions": 1, "ms": true',
                b'"backend": "torch", "precision": "fp32", "threads": 1, "sessions": 1',
            )
        ),
    ],
)
def test_a_broken_or_foreign_file_is_one_note_and_is_replaced(archive, cache, quick, content):
    from boxwright.tuning.store import archive_digest

    digest = archive_digest(open_bundle(archive))
    cache.mkdir(parents=True)
    (cache / f"a-{digest[:16]}.warmup.json").write_bytes(content.replace(b"DIGEST", digest.encode()))
    first = chosen(archive)
    (note,) = first.notes
    assert note == f"{warm_up_file(cache)} is ignored: it is not a warm-up's."
    assert first.reason.startswith("fastest at warm-up (")
    assert chosen(archive).notes == ()
    assert " here on " in chosen(archive).reason


def test_a_cache_that_cannot_be_written_is_a_note_and_every_start_measures(archive, cache, quick):
    cache.parent.write_text("a file, not a folder")  # root may write everywhere else
    for _ in range(2):
        found = chosen(archive)
        assert found.reason.startswith("fastest at warm-up (")
        assert "The warm-up is not remembered, and every start measures again: " in " ".join(found.notes)


def test_without_a_home_the_choice_is_made_all_the_same(archive):
    """As for a container's user without an entry in its list of users."""
    code = (
        "import sys, pathlib\n"
        "from boxwright.runtime import Execution, open_bundle\n"
        "from boxwright.tuning import choose_execution\n"
        "pathlib.Path.home = classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError('no home')))\n"
        "archive = pathlib.Path(sys.argv[1])\n"
        "found = choose_execution(archive, open_bundle(archive), Execution())\n"
        "print(found.reason, *found.notes, sep='\\n')\n"
    )
    hidden = ("XDG_CACHE_HOME", "HOME")
    done = subprocess.run(
        [sys.executable, "-c", code, str(archive)],
        env={key: value for key, value in os.environ.items() if key not in hidden},
        capture_output=True,
        text=True,
        timeout=120,
    )
    reason, note = done.stdout.splitlines()
    assert reason.startswith("fastest at warm-up (")
    assert note.endswith("there is no home folder; XDG_CACHE_HOME may name another.")


def test_what_cannot_be_opened_is_left_out_and_told_each_time(mar, tmp_path, cache):
    archive = with_export(
        mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32", "onnxruntime-int8", quantised=b"not a graph"
    )
    first, second = chosen(archive), chosen(archive)
    assert first.execution.precision == "fp32"
    (note,) = first.notes
    assert note.startswith("onnxruntime-int8 is left out: ")
    assert "model.int8.onnx: cannot be read by onnxruntime" in note
    assert note.endswith(f" To time it again, delete {warm_up_file(cache)}.")
    assert second.notes == first.notes
    assert " here on " in second.reason


def stand_in(tmp_path, monkeypatch, victim):
    """A program in Python's place that a crash ends where a request names ``victim``; else it is Python."""
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\nrequest=$(cat)\ncase "$request" in *{victim}*) kill -SEGV $$;; esac\n'
        f'printf %s "$request" | \'{sys.executable}\' "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_backend_that_crashes_on_this_model_does_not_end_the_caller(archive, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, victim='\\"openvino\\"')
    found = chosen(archive)
    assert found.execution.variant == "onnxruntime-fp32"
    (note,) = found.notes
    assert note.startswith(f"openvino-fp32 is left out: Ended by signal {signal.SIGSEGV.value};")


def test_where_every_graph_fails_torch_runs_the_model(mar, tmp_path, cache):
    broken = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32", content=b"not a graph")
    found = chosen(broken)
    assert found.execution.variant == "torch-fp32"
    assert [note.split(" is left out: ")[0] for note in found.notes] == ["onnxruntime-fp32", "openvino-fp32"]
    (entry,) = json.loads(warm_up_file(cache).read_text())["machines"].values()
    assert {record["backend"] for record in entry["timings"]} == {"torch"}  # the graphs may have been short of memory


@pytest.mark.parametrize(
    ("alone", "together", "sessions"),
    [(10.0, 11.0, 2), (10.0, 12.4, 2), (10.0, 12.6, 1), (10.0, 17.0, 1), (10.0, 25.0, 1), (10.0, 6.0, 2)],
)
def test_several_sessions_of_torch_are_taken_if_one_picture_hardly_waits_longer(
    archive, tmp_path, monkeypatch, alone, together, sessions
):
    """Milliseconds of one picture on all processors, and of two at once on their share."""
    program = tmp_path / "python"
    program.write_text(
        f"""#!/bin/sh\ncase "$(cat)" in *'"sessions": 2'*) ms={together};; *) ms={alone};; esac\n"""
        """echo '{"batch": 1, "latencies_ms": ['$ms']}'\n"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr("boxwright.tuning.choice.cores", lambda: 2)
    found = chosen(archive, backend="torch", precision="fp32")
    assert found.execution.sessions == sessions
    assert (found.execution.threads == 1) == (sessions == 2)
    assert f"torch-fp32 2 at a time {together} ms" in found.reason
    assert chosen(archive, backend="torch", precision="fp32", sessions=1).reason == "as asked for"


def test_if_all_fail_the_error_says_why(mar, tmp_path):
    broken = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32", content=b"not a graph")
    bundle = open_bundle(broken)
    without_weights = {name: digest for name, digest in bundle.members.items() if name != "model_state_dict.pth"}
    with pytest.raises(ArchiveError, match=r"a\.mar: nothing here can run this model\. onnxruntime-fp32 is left out"):
        choose_execution(broken, replace(bundle, members=without_weights), Execution())


def test_where_no_process_can_be_started_the_first_is_taken(archive, monkeypatch):
    no_process_from_now_on(monkeypatch)
    found = chosen(archive)
    assert found.execution.variant == "onnxruntime-fp32"
    assert found.reason == "the first that is proved; nothing was timed"
    assert found.notes[0].startswith("Nothing could be timed: no process can be started: ")


def test_predicting_and_measuring_never_time_backends(run, archive, demo_data, cache, monkeypatch):
    no_process_from_now_on(monkeypatch)
    picture = next((demo_data / "test").glob("*.jpg"))
    assert Predictor(archive).execution.variant == "onnxruntime-fp32"
    assert len(Predictor(archive)(picture)) >= 0
    monkeypatch.undo()
    assert boxwright.evaluate(archive, demo_data, "test").figures.map >= 0
    assert not cache.exists()


def first_answer(archive, picture):
    """What the real server says of how it runs a model, and the libraries it has loaded once it has answered."""
    line = [sys.executable, "-m", "boxwright", "serve", str(archive), "--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[-1]
        setting = process.stdout.readline()
        request = urllib.request.Request(url, data=picture.read_bytes(), method="PUT")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)
        return setting, Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_serving_a_proved_graph_never_loads_torch(archive, demo_data):
    """At the second start what the first one timed is known."""
    picture = next((demo_data / "test").glob("*.jpg"))
    setting, libraries = first_answer(archive, picture)
    assert re.match(r"  (onnxruntime|openvino)-fp32, .*: fastest at warm-up \(", setting)
    assert re.search(r"onnxruntime|openvino", libraries)
    assert "torch" not in libraries
    setting, libraries = first_answer(archive, picture)
    assert re.match(r"  (onnxruntime|openvino)-fp32, .*: fastest at warm-up here on \d{4}-\d\d-\d\d \(", setting)
    assert "torch" not in libraries


def store(archive, *runs):
    base = {"batch": 1, "latency_ms_p50": 10.0, "precision": "fp32", "threads": 1, "sessions": 1}
    full = [{**base, **run} for run in runs]
    write_entry(archive, open_bundle(archive), describe_machine(), full, "2026-01-01T00:00:00+00:00")


def stored(archive, **asked):
    return stored_execution(archive, open_bundle(archive), Execution(**asked))


def test_what_a_warm_up_found_is_known_for_many_pictures(archive, monkeypatch):
    found = chosen(archive, sessions=1).execution
    no_process_from_now_on(monkeypatch)
    bundle, asked = open_bundle(archive), Execution(sessions=1)
    assert stored_execution(archive, bundle, asked, pictures=100) == found
    assert stored_execution(archive, bundle, asked, pictures=99) is None  # the fastest is not the first to be ready
    assert stored_execution(archive, bundle, Execution("torch", sessions=1), pictures=100) is None


def test_what_bench_stored_is_known_without_a_warm_up(archive, monkeypatch):
    no_process_from_now_on(monkeypatch)
    assert stored(archive) is None
    store(
        archive,
        {"backend": "openvino", "sessions": 2, "images_per_s": 30.0},
        {"backend": "torch", "threads": 2, "images_per_s": 20.0},
        {"backend": "onnxruntime", "precision": "int8", "images_per_s": 99.0},  # not proved
    )
    assert stored(archive) == Execution("openvino", "fp32", threads=1, sessions=2)
    assert stored(archive, sessions=1) == Execution("torch", "fp32", threads=2, sessions=1)
    assert stored(archive, backend="onnxruntime") is None
    assert stored(archive, backend="openvino", precision="fp32", threads=1, sessions=2) is None  # nothing is open
    assert stored(archive, device="cuda:0") is None  # another machine, as it were
    assert chosen(archive).execution == stored(archive)
