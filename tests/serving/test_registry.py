"""Registering from the store, from URLs, and what goes wrong."""

import errno
import json
import os
import shutil
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from boxwright.runtime import Execution
from boxwright.runtime.bundle import MANIFEST
from boxwright.serving import registry as registering
from boxwright.serving.configuration import ModelChanges
from boxwright.serving.engine import DefaultVersion, Engine
from boxwright.serving.intake import Body
from boxwright.serving.jobs import Loading, ModelNotFound
from boxwright.serving.model import ServedModel
from boxwright.serving.registry import NotRegistered, Reason, Registration, Registry
from boxwright.serving.settings import Security, ServerSettings
from support.exported import with_export
from support.hostile_archives import listed, members_of, packed


@pytest.fixture(scope="module")
def archive(mar, tmp_path_factory):
    """Answers at once."""
    return with_export(mar, tmp_path_factory.mktemp("archive") / "tiny.mar", "onnxruntime-fp32")


def versioned(archive, target, version, **more):
    """A copy with another version, and members beside."""
    members = members_of(archive)
    manifest = json.loads(members[MANIFEST])
    manifest["model"]["modelVersion"] = version
    if "model-config.yaml" in more:
        manifest["model"]["configFile"] = "model-config.yaml"
    members[MANIFEST] = json.dumps(manifest).encode()
    target.write_bytes(packed(listed({**members, **more})))
    return target


@pytest.fixture
def store(archive, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(archive, folder / "tiny.mar")
    return folder


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.close(5.0)


@pytest.fixture
def registry(engine, store):
    return Registry(engine, ServerSettings(store=store), Execution("onnxruntime"))


def answers(engine, name, demo_data, version=None):
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    return len(engine.submit(name, Body.of(picture), version)[1].result(30).detections)


def reason_of(registry, url, **more):
    before = [(model.name, model.version) for model in registry.served()]
    with pytest.raises(NotRegistered) as failed:
        registry.register(Registration(url, **more))
    assert [(model.name, model.version) for model in registry.served()] == before
    return failed.value.reason, failed.value.message


def test_what_is_registered_answers_under_the_name_it_was_asked_for(registry, engine, demo_data):
    model = registry.register(Registration("tiny.mar", name="other", workers=1, changes={"batch_size": 3}))
    assert (model.name, model.spec.name, model.version, model.url) == ("other", "tiny", "1.0", "tiny.mar")
    assert (model.options.batch_size, model.options.queue_size, model.at_startup) == (3, 100, False)
    assert answers(engine, "other", demo_data) == 2
    with pytest.raises(ModelNotFound):
        engine.find("tiny")


def test_without_workers_it_is_there_and_can_be_scaled(registry, engine, demo_data):
    model = registry.register(Registration("tiny.mar"))
    assert (model.workers, model.least) == ([], 0)
    registry.scale(model, 1, 2)
    assert (len(model.workers), model.least, model.most) == (1, 1, 2)
    assert answers(engine, "tiny", demo_data) == 2


def test_without_waiting_the_version_is_there_at_once_and_its_workers_come(registry, engine, demo_data):
    model = registry.register(Registration("tiny.mar", workers=1, wait=False))
    assert engine.find("tiny") is model
    assert model.least == 1
    for _ in range(600):
        if model.workers:
            break
        threading.Event().wait(0.05)
    assert answers(engine, "tiny", demo_data) == 2


@pytest.mark.parametrize(
    ("url", "reason", "message"),
    [
        ("", Reason.NOT_FOUND, "empty url"),
        ("none.mar", Reason.NOT_FOUND, "Model not found at: none.mar"),
        ("../store/tiny.mar", Reason.NOT_FOUND, "Relative path is not allowed in url: ../store/tiny.mar"),
        ("a/../tiny.mar", Reason.NOT_FOUND, "Relative path is not allowed in url: a/../tiny.mar"),
        ("a\\..\\tiny.mar", Reason.NOT_FOUND, "Relative path is not allowed in url: a\\..\\tiny.mar"),
        ("%2e%2e/tiny.mar", Reason.NOT_FOUND, "Relative path is not allowed in url: %2e%2e/tiny.mar"),
        ("/etc/passwd", Reason.NOT_FOUND, "Model not found at: /etc/passwd"),
        ("a\0b", Reason.NOT_FOUND, "Model not found at: a\0b"),
        ("a" * 5000, Reason.NOT_FOUND, "Model not found at: " + "a" * 5000),
        ("ftp://host/tiny.mar", Reason.NOT_FOUND, "Model not found at: ftp://host/tiny.mar"),
        ("http://[/tiny.mar", Reason.NOT_FOUND, "Model not found at: http://[/tiny.mar"),
        (
            "http://host/tiny.mar",
            Reason.NOT_FOUND,
            "Given URL http://host/tiny.mar does not match any allowed URL(s)",
        ),
        (
            "file:///etc/tiny.mar",
            Reason.NOT_FOUND,
            "Given URL file:///etc/tiny.mar does not match any allowed URL(s)",
        ),
    ],
)
def test_what_is_not_there_or_not_allowed(registry, url, reason, message):
    assert reason_of(registry, url) == (reason, message)


def test_an_absolute_path_is_not_of_the_store(registry, store):
    assert reason_of(registry, str(store / "tiny.mar"))[0] is Reason.NOT_FOUND


def test_a_version_is_registered_once(registry, engine):
    registry.register(Registration("tiny.mar"))
    expected = (Reason.SERVED, "Model version 1.0 is already registered for model tiny")
    assert reason_of(registry, "tiny.mar") == expected


def test_at_the_same_time_a_version_is_loaded_once(registry, engine):
    outcomes = []

    def register():
        try:
            outcomes.append(registry.register(Registration("tiny.mar", workers=1)))
        except NotRegistered as failed:
            outcomes.append(failed.reason)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 4
    assert sum(outcome is Reason.SERVED for outcome in outcomes) == 3
    assert len(registry.served()) == 1


def test_a_name_that_cannot_stand_in_a_url(registry):
    assert reason_of(registry, "tiny.mar", name="a b")[0] is Reason.NAME


@pytest.mark.parametrize("damage", ["text", "cut", "other"])
def test_a_corrupt_archive_leaves_what_is_served(registry, engine, store, demo_data, damage):
    registry.register(Registration("tiny.mar", workers=1))
    content = (store / "tiny.mar").read_bytes()
    if damage == "other":
        with zipfile.ZipFile(store / "bad.mar", "w") as other:
            other.writestr("handler.py", "raise SystemExit")
    else:
        (store / "bad.mar").write_bytes(b"junk" if damage == "text" else content[: len(content) // 2])
    reason, message = reason_of(registry, "bad.mar")
    assert reason is Reason.INVALID
    assert "bad.mar" in message
    assert answers(engine, "tiny", demo_data) == 2


def test_workers_that_cannot_start_leave_nothing(registry, engine, monkeypatch):
    def out_of_processes(self):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(ServedModel, "_hired", out_of_processes)
        expected = (Reason.NO_WORKERS, "Failed to start workers for model tiny version: 1.0")
        assert reason_of(registry, "tiny.mar", workers=1) == expected
    model = registry.register(Registration("tiny.mar", workers=1))
    with monkeypatch.context() as patch:
        patch.setattr(ServedModel, "_hired", out_of_processes)
        with pytest.raises(NotRegistered, match="Failed to start workers"):
            registry.scale(model, 3, 3)
    assert (len(model.workers), model.least) == (1, 1)


def test_versions_of_one_model(registry, engine, store, archive):
    versioned(archive, store / "tiny2.mar", "2.0")
    registry.register(Registration("tiny.mar"))
    registry.register(Registration("tiny2.mar"))
    assert engine.find("tiny").version == "1.0"
    with pytest.raises(DefaultVersion):
        registry.unregister("tiny")
    registry.unregister("tiny", "2.0")
    assert [model.version for model in engine.versions("tiny")] == ["1.0"]
    registry.register(Registration("tiny2.mar"))
    registry.unregister_all("tiny")
    assert engine.models == {}
    assert (store / "tiny.mar").exists()


# URLs


class _Files(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self):
        if self.path == "/away/tiny.mar":
            self.send_response(302)
            self.send_header("Location", "/private/tiny.mar")
        elif self.path == "/round/tiny.mar":
            self.send_response(302)
            self.send_header("Location", "/round/tiny.mar")
        elif self.path == "/files/fetched.mar":
            self.send_response(200)
        else:
            self.send_response(404)
        found = self.content if self.path == "/files/fetched.mar" else b"nothing"
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(archive):
    handler = type("Files", (_Files,), {"content": archive.read_bytes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def allowing(engine, store, *patterns):
    settings = ServerSettings(store=store, security=Security(allowed_urls=patterns))
    return Registry(engine, settings, Execution("onnxruntime"))


def test_an_allowed_url_is_fetched_into_the_store_and_removed_with_its_model(web, engine, store, demo_data):
    registry = allowing(engine, store, rf"{web}/files/.*")
    model = registry.register(Registration(f"{web}/files/fetched.mar", workers=1))
    assert model.url == f"{web}/files/fetched.mar"
    assert answers(engine, "tiny", demo_data) == 2
    assert sorted(path.name for path in store.iterdir()) == ["fetched.mar", "tiny.mar"]
    registry.unregister("tiny")
    assert [path.name for path in store.iterdir()] == ["tiny.mar"]


def test_urls_that_give_no_archive(web, engine, store):
    registry = allowing(engine, store, rf"{web}/files/.*", rf"{web}/away/.*", rf"{web}/round/.*", "file:///.*")
    for path in ("files/none.mar", "round/tiny.mar"):
        if path == "round/tiny.mar":
            (store / "tiny.mar").unlink()
        reason, message = reason_of(registry, f"{web}/{path}")
        assert (reason, message) == (Reason.DOWNLOAD, f"Failed to download archive from: {web}/{path}")
    # where it leads is asked as well
    reason, message = reason_of(registry, f"{web}/away/tiny.mar")
    assert (reason, message) == (
        Reason.NOT_FOUND,
        f"Given URL {web}/private/tiny.mar does not match any allowed URL(s)",
    )
    assert reason_of(registry, f"{web}/files/fetched.mar?x=/../a.mar")[0] is Reason.NOT_FOUND
    assert reason_of(registry, "file:///nowhere/x.mar")[0] is Reason.DOWNLOAD
    assert list(store.iterdir()) == []


def test_a_fetched_file_never_takes_the_place_of_another(engine, store, archive):
    registry = allowing(engine, store, "file://.*")
    expected = (Reason.FILE_EXISTS, "Model file already exists tiny.mar")
    assert reason_of(registry, archive.as_uri()) == expected
    shutil.copy(archive, store.parent / "config.properties")
    assert reason_of(registry, (store.parent / "config.properties").as_uri())[0] is Reason.NOT_FOUND


def test_a_fetched_file_that_is_broken_does_not_stay(engine, store):
    (store.parent / "broken.mar").write_bytes(b"junk")
    registry = allowing(engine, store, "file://.*")
    assert reason_of(registry, (store.parent / "broken.mar").as_uri())[0] is Reason.INVALID
    assert [path.name for path in store.iterdir()] == ["tiny.mar"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, Reason.NO_ROOM), (errno.EROFS, Reason.NOT_SAVED), (errno.EACCES, Reason.NOT_SAVED)],
)
def test_a_store_that_cannot_be_written(engine, store, archive, demo_data, monkeypatch, number, reason):
    """The system's refusal stands in for a full disk: a test cannot fill the one it runs on."""
    registry = allowing(engine, store, "file://.*")
    registry.register(Registration("tiny.mar", workers=1))
    other = shutil.copy(archive, store.parent / "other.mar")

    def full(success, chunks, target, end):
        raise OSError(number, "no")

    monkeypatch.setattr(registering, "_receive", full)
    assert reason_of(registry, (store.parent / "other.mar").as_uri(), name="other")[0] is reason
    assert other.exists()
    assert [path.name for path in store.iterdir()] == ["tiny.mar"]
    assert answers(engine, "tiny", demo_data) == 2


def test_a_real_full_disk(engine, store, archive):
    """A device that is always full."""
    registry = allowing(engine, store, "file://.*")
    (store / f"other.mar.{os.getpid()}.part").symlink_to("/dev/full")
    shutil.copy(archive, store.parent / "other.mar")
    assert reason_of(registry, (store.parent / "other.mar").as_uri())[0] is Reason.NO_ROOM


# the store


def test_rescan_takes_in_what_is_new_and_passes_over_what_is_broken(registry, engine, store, archive, demo_data):
    (store / "broken.mar").write_bytes(b"junk")
    first = registry.rescan(at_startup=True)
    assert (first.added, first.replaced, list(first.faults)) == ([("tiny", "1.0")], [], [store / "broken.mar"])
    assert engine.find("tiny").at_startup
    assert answers(engine, "tiny", demo_data) == 2
    versioned(archive, store / "tiny2.mar", "2.0")
    (store / "broken.mar").unlink()
    second = registry.rescan()
    assert (second.added, second.replaced, second.faults) == ([("tiny", "2.0")], [], {})
    assert engine.find("tiny").version == "1.0"
    third = registry.rescan()
    assert (third.added, third.replaced, third.faults) == ([], [], {})


def test_rescan_swaps_what_was_written_anew(registry, engine, store, archive, demo_data):
    registry.register(Registration("tiny.mar", name="mine", workers=2, changes={"queue_size": 7}))
    before = engine.find("mine")
    config = b"batchSize: 3\nminWorkers: 1\n"
    versioned(archive, store / "tiny.mar", "1.0", **{"more.txt": b"x", "model-config.yaml": config})
    assert registry.rescan().replaced == [("mine", "1.0")]
    after = engine.find("mine")
    assert after is not before
    assert (after.least, after.options.queue_size, len(before.workers)) == (2, 7, 0)
    assert after.options.batch_size == 3  # what its file says now; as many workers as people asked for
    assert answers(engine, "mine", demo_data) == 2
    versioned(archive, store / "tiny.mar", "1.1")
    assert registry.rescan().replaced == [("mine", "1.1")]
    assert [model.version for model in engine.versions("mine")] == ["1.1"]
    assert answers(engine, "mine", demo_data) == 2


def test_a_swap_under_load_fails_nobody_and_happens_once(registry, engine, store, archive, demo_data):
    registry.rescan()
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    stop = threading.Event()
    seen, failures = [[] for _ in range(3)], []

    def ask(mine):
        while not stop.is_set():
            try:
                model, future = engine.submit("tiny", Body.of(picture))
                assert len(future.result(30).detections) == 2
                mine.append(model)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for version in ("1.0", "1.1"):
        versioned(archive, store / "new", version, **{"more.txt": b"x"}).replace(store / "tiny.mar")
        assert registry.rescan().replaced == [("tiny", version)]
        before = [len(mine) for mine in seen]
        for _ in range(600):
            if all(len(mine) > count + 5 for mine, count in zip(seen, before, strict=True)):
                break
            threading.Event().wait(0.05)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    for mine in seen:
        switches = sum(one is not other for one, other in pairwise(mine))
        assert (switches, mine[-1].version) == (2, "1.1")


def test_a_file_that_breaks_leaves_what_was_loaded_from_it(registry, engine, store, demo_data):
    registry.rescan()
    (store / "tiny.mar").write_bytes(b"junk")
    assert list(registry.rescan().faults) == [store / "tiny.mar"]
    assert answers(engine, "tiny", demo_data) == 2
    assert list(registry.rescan().faults) == [store / "tiny.mar"]
    (store / "tiny.mar").unlink()
    assert registry.rescan().faults == {}
    assert answers(engine, "tiny", demo_data) == 2


def test_a_fault_is_logged_once_and_names_its_file_once(registry, store, archive, caplog):
    (store / "broken.mar").write_bytes(b"junk")
    (store / "again.mar").write_bytes(archive.read_bytes())  # another file with a version that is served
    registry.rescan()
    (broken, again) = sorted(
        (one.getMessage() for one in caplog.records if one.levelname == "ERROR"), key=len, reverse=True
    )
    for name, message in (("broken.mar", broken), ("tiny.mar", again)):
        assert message.startswith("Not served: ")
        assert message.count(str(store / name)) == 1


def test_what_a_configuration_does_not_honour_is_told_by_its_reader_alone(engine, store, caplog):
    changes = ModelChanges(notes=("deviceType has no meaning here.",))
    Registry(engine, ServerSettings(store=store), Execution("onnxruntime"), models={("tiny", "1.0"): changes}).rescan()
    assert engine.find("tiny").version == "1.0"
    assert "deviceType" not in caplog.text


def test_by_name(registry, engine, demo_data):
    registry.load_named("tiny")
    before = engine.find("tiny")
    registry.load_named("tiny")
    assert engine.find("tiny") is not before
    assert answers(engine, "tiny", demo_data) == 2
    for name in ("none", "../tiny", "/etc/x"):
        with pytest.raises(NotRegistered) as failed:
            registry.load_named(name)
        assert failed.value.reason is Reason.NOT_FOUND


def test_a_models_own_configuration(engine, store, archive):
    inside = b"minWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 20\nresponseTimeout: 9\nmyKey: 1\n"
    versioned(archive, store / "tiny.mar", "1.0", **{"model-config.yaml": inside})
    registry = Registry(engine, ServerSettings(store=store), Execution("onnxruntime"))
    registry.rescan()
    model = engine.find("tiny")
    options = model.options
    assert (len(model.workers), options.batch_size, options.batch_delay, options.timeout) == (2, 4, 0.02, 9)
    (store / "tiny.model-config.yaml").write_text("batchSize: 5\n")
    beside = registry.register(Registration("tiny.mar", name="beside", changes={"timeout": 3}))
    assert (beside.options.batch_size, beside.options.timeout, beside.workers) == (5, 3, [])
    (store / "tiny.model-config.yaml").write_text("minWorkers: 1000\n")
    reason, message = reason_of(registry, "tiny.mar", name="third")
    assert reason is Reason.INVALID
    assert "1000 workers" in message
    (store / "tiny.model-config.yaml").write_text("batchSize: many\n")
    reason, message = reason_of(registry, "tiny.mar", name="third")
    assert reason is Reason.INVALID
    assert "batchSize" in message


def test_an_archive_that_is_named_has_its_configuration_too(engine, archive, tmp_path):
    path = versioned(archive, tmp_path / "tiny.mar", "1.0", **{"model-config.yaml": b"batchSize: 4\nminWorkers: 2\n"})
    settings = ServerSettings()
    Registry(engine, settings, Execution("onnxruntime")).load_file(path)
    model = engine.find("tiny")
    assert (model.options.batch_size, len(model.workers), model.url) == (4, 2, "tiny.mar")
    said = {("tiny", "1.0"): ModelChanges(options={"batch_size": 3}, workers=1, default=True)}
    second = Engine()
    Registry(second, settings, Execution("onnxruntime"), models=said).load_file(path)
    assert (second.find("tiny").options.batch_size, len(second.find("tiny").workers)) == (3, 1)
    second.close(5.0)


def test_a_default_is_one_however_it_comes(engine, store, archive):
    said = {("tiny", "2.0"): ModelChanges(default=True)}
    registry = Registry(engine, ServerSettings(store=store), Execution("onnxruntime"), models=said)
    registry.register(Registration("tiny.mar"))
    versioned(archive, store / "tiny2.mar", "2.0")
    registry.register(Registration("tiny2.mar"))
    assert engine.find("tiny").version == "2.0"


def test_while_models_are_loaded_nothing_else_is(registry, engine):
    engine.loading = True
    with pytest.raises(Loading):
        registry.register(Registration("tiny.mar"))
    with pytest.raises(Loading):
        registry.load_named("tiny")


def test_without_a_store_nothing_is_registered(engine):
    registry = Registry(engine, replace(ServerSettings(), store=None))
    reason, message = reason_of(registry, "tiny.mar")
    assert (reason, message.endswith("with --store.")) == (Reason.NOT_FOUND, True)
    assert registry.archives() == []
    assert registry.rescan().added == []
