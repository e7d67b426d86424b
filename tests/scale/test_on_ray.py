"""Prediction and training on a cluster of three: a head and two nodes, all on this machine.

One file, so that one cluster serves all, and one process of the tests starts it.
"""

import asyncio
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from starlette.testclient import TestClient

import boxwright
from boxwright.data import draw_demo_data
from boxwright.runtime import ConfigError, Execution, ModelSpec, PictureError
from boxwright.scale.prediction import JOB, predict_on
from boxwright.scale.relay import Asked, Group, make_relay
from boxwright.scale.serving import Replicas, _asking
from boxwright.scale.training import launcher
from boxwright.tracking.metrics_file import read_metrics
from support import slow_handler
from support.cluster import Cluster, called, until
from support.object_store import KEYS, Bucket, object_store

pytestmark = [
    # Ray warns of itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PINNED = Execution("onnxruntime", "fp32", threads=1)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """In a store that the nodes know of from their environment, as they do of a real one."""
    with object_store() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield Bucket(address)


@pytest.fixture(scope="module")
def whole_cluster(bucket):
    settings = {
        "OMP_NUM_THREADS": "1",  # as Ray sets it for one processor, unless it is set
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # after 5 s Ray Serve ends a proxy of a busy machine
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        cluster = Cluster()
        yield cluster
    import ray

    left = called("ray")
    ray.shutdown()
    cluster.emulated.shutdown()
    _, alive = psutil.wait_procs(left, timeout=60)  # agents look for their raylet every few seconds
    assert not alive


@pytest.fixture
def cluster(whole_cluster):
    whole_cluster.restore()
    return whole_cluster


@pytest.fixture(scope="module")
def many(demo_data, tmp_path_factory):
    """Sixty-one pictures: the demo's, again and again, and one that is broken."""
    folder = tmp_path_factory.mktemp("many")
    pictures = sorted(demo_data.glob("*/*.jpg"))
    for number in range(60):
        (folder / f"{number:03d}.jpg").write_bytes(pictures[number % len(pictures)].read_bytes())
    (folder / "030-broken.jpg").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def wanted(mar, many):
    """By file name, what the predictor of one machine answers."""
    predictor = boxwright.Predictor(mar, backend="onnxruntime", precision="fp32", threads=1)
    identifiers = [entry.id for entry in predictor.spec.classes]
    found = {}
    for path in sorted(many.iterdir()):
        try:
            found[path.name] = predictor(path).to_coco(0, identifiers)
        except PictureError:
            found[path.name] = None
    return found


def rows_of(out):
    if out.suffix == ".jsonl":
        return [json.loads(line) for part in sorted(out.glob("part-*")) for line in part.read_text().splitlines()]
    import pyarrow.parquet as pq

    return [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part).to_pylist()]


def same(rows, wanted):
    """Whether there is one row per picture, in order, with the same bits."""
    assert [Path(row["source"]).name for row in rows] == sorted(wanted)
    for row in rows:
        expected = wanted[Path(row["source"]).name]
        assert (row["error"] is None) == (expected is not None)
        told = [(one["category_id"], one["bbox"], one["score"]) for one in row["detections"]]
        assert told == [(one["category_id"], one["bbox"], one["score"]) for one in expected or ()]


def actors():
    return called("_Actor")


def test_each_picture_is_a_row_with_the_bits_of_one_machine(cluster, mar, many, wanted, tmp_path):
    out = tmp_path / "answers.jsonl"
    done = predict_on(mar, [str(many)], str(out), on=cluster.address, execution=PINNED)
    assert (done.pictures, done.before, done.failed) == (61, 0, 1)
    same(rows_of(out), wanted)
    (broken,) = (row for row in rows_of(out) if row["error"])
    assert "030-broken.jpg" in broken["error"]
    assert any(row["detections"] for row in rows_of(out))


def test_an_actor_that_is_killed_costs_no_row(cluster, mar, many, wanted, tmp_path):
    out = tmp_path / "answers.jsonl"
    done, before = [], {one.pid for one in actors()}
    job = threading.Thread(
        target=lambda: done.append(
            predict_on(mar, [str(many)], str(out), on=cluster.address, execution=PINNED, actors=2)
        )
    )
    job.start()
    until(lambda: [one for one in actors() if one.pid not in before])[0].kill()
    job.join(180)
    assert done[0].pictures == 61
    same(rows_of(out), wanted)


def test_what_was_killed_as_a_whole_goes_on_and_no_picture_is_twice(cluster, mar, many, wanted, tmp_path):
    out = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "boxwright", "predict", mar, many, "--on", cluster.address, "--out", out]
    command += ["--backend", "onnxruntime", "--precision", "fp32", "--devices", "1"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    first = subprocess.Popen(list(map(str, command)), env=environment)
    until(lambda: list(out.glob("part-*.jsonl")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    until(lambda: not actors())  # one that was at work may still write
    parts = {part: part.stat().st_mtime_ns for part in out.glob("part-*.jsonl")}
    assert 0 < len(parts) < 4
    second = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=180)
    assert second.returncode == 0, second.stderr
    assert f"61 pictures, {16 * len(parts)} of them by an earlier start: {out}" in second.stdout
    assert "1 of them could not be used; the 'error' of their rows says why." in second.stdout
    assert all(part.stat().st_mtime_ns == when for part, when in parts.items())
    same(rows_of(out), wanted)
    with pytest.raises(ConfigError, match=r"was begun differently \(threshold\)"):
        predict_on(mar, [str(many)], str(out), execution=PINNED, threshold=0.5)


def test_pictures_and_rows_may_lie_where_fsspec_reaches(cluster, mar, many, wanted, tmp_path):
    out = tmp_path / "answers.parquet"
    done = predict_on(mar, [many.as_uri()], out.as_uri(), on=cluster.address, execution=PINNED)
    assert done.failed == 1
    assert json.loads((out / JOB).read_text())["pictures"] == 61
    same(rows_of(out), wanted)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 12, "valid": 3})


TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "batch_size": 4,
    "wandb": "off",
    "workers": 0,
}
SETTINGS = {**TINY, "epochs": 3, "devices": 2, "name": "two"}


def losses(run):
    return [line["train/loss"] for line in read_metrics(run) if "train/loss" in line]


def weights(run):
    return torch.load(run / "model_state_dict.pth", weights_only=True)


@pytest.fixture(scope="module")
def plain(whole_cluster, small, tmp_path_factory):
    """The same training in two processes without a cluster, with as many threads each."""
    result = boxwright.train(data=small, out=tmp_path_factory.mktemp("plain"), **SETTINGS)
    assert losses(result.folder)
    return result


def require(on_ray, plain):
    """The run of a cluster is that of processes without it: files, figures and weights, to the bit."""
    assert losses(on_ray.folder)[-1] == losses(plain.folder)[-1]
    theirs = weights(plain.folder)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(on_ray.folder).items())
    assert on_ray.spec.measured == plain.spec.measured
    assert {one.name for one in on_ray.folder.iterdir()} == {one.name for one in plain.folder.iterdir()}


def test_training_on_a_cluster_is_that_of_processes_without_it(cluster, small, plain, tmp_path):
    on_ray = boxwright.train(data=small, out=tmp_path, launch=launcher(cluster.address), **SETTINGS)
    require(on_ray, plain)
    assert losses(on_ray.folder) == losses(plain.folder)
    assert [one.name for one in tmp_path.iterdir()] == [on_ray.folder.name]
    with pytest.raises(ConfigError, match="its training is done"):  # the first process alone finds that out
        boxwright.resume(on_ray.folder, launch=launcher(cluster.address))
    assert not list(tmp_path.glob(".ray-*"))


def lose_one(cluster, settings, begun):
    """A training that loses a node that trains once ``begun`` says so; its result and its epochs."""
    done = []
    job = threading.Thread(target=lambda: done.append(boxwright.train(launch=launcher(cluster.address), **settings)))
    job.start()
    until(begun, 240)
    cluster.lose(cluster.at_work("RayTrainWorker"))
    job.join(240)
    assert done, "the training did not end"
    return done[0], [line["epoch"] for line in read_metrics(done[0].folder) if "train/loss" in line]


def test_a_node_that_is_lost_costs_the_steps_since_the_last_checkpoint(cluster, small, plain, tmp_path, capsys):
    run = tmp_path / SETTINGS["name"]
    settings = {**SETTINGS, "data": small, "out": tmp_path}
    result, epochs = lose_one(cluster, settings, lambda: (run / "checkpoints" / "last.ckpt").is_file())
    assert sorted(set(epochs)) == [0, 1, 2]
    assert re.search(r"Going on with epoch [23] of 3", capsys.readouterr().out)
    require(result, plain)
    assert not list(tmp_path.glob(".ray-*"))


def test_a_run_of_a_store_is_that_of_a_folder_though_a_node_is_lost(cluster, bucket, small, plain, capsys):
    url, out = bucket.put_folder(small, "sets/data"), bucket.url("runs")
    run = f"runs/{SETTINGS['name']}"
    settings = {**SETTINGS, "data": url, "out": out}
    result, epochs = lose_one(cluster, settings, lambda: f"{run}/checkpoints/last.ckpt" in bucket.keys("runs"))
    assert sorted(set(epochs)) == [0, 1, 2]
    assert re.search(r"Going on with epoch [23] of 3", capsys.readouterr().out)
    require(result, plain)
    assert result.store == bucket.url(run)
    assert yaml.safe_load(bucket.get(f"{run}/config.yaml"))["data"] == url
    assert not [key for key in bucket.keys("runs") if not key.startswith(f"{run}/")]


def test_a_search_trains_on_the_cluster(cluster, small, tmp_path, monkeypatch):
    """Two trainings at a time, in other processes than the search; the default is among them."""
    from boxwright.scale import connected
    from boxwright.scale.search import on_cluster
    from boxwright.search import study

    monkeypatch.chdir(small.parent)  # a path from here means nothing there
    monkeypatch.setattr(study, "_SHORTEST", 0.01)
    with connected(cluster.address):
        how = on_cluster(2)

        def two_epochs(run):
            return lambda settings, *others: run({**settings, "minutes": None, "epochs": 2}, *others)

        how = {**how, "run_trial": two_epochs(how["run_trial"]), "run_final": two_epochs(how["run_final"])}
        given = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "image_size": 96, "wandb": "off", "workers": 0}
        result = boxwright.tune("data", 0.4, out=tmp_path, console=Console(quiet=True), **how, **given)
    states = [one.state for one in result.trials]
    assert len(states) >= 2
    assert "complete" in states
    assert ModelSpec.load(result.default / "spec.json").provenance["finished"]
    assert (result.best is None) == (result.comparison is None)


def test_more_processes_than_the_cluster_has_are_refused(cluster, small, tmp_path):
    with pytest.raises(ConfigError, match=r"devices = 9: the cluster has \d CPUs\."):
        boxwright.train(data=small, out=tmp_path, devices=9, launch=launcher(cluster.address), **TINY)


def ask(url, path, body=None):
    """Status and JSON of an answer."""
    request = urllib.request.Request(url + path, data=body, method="POST" if body else "GET")
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def sum_of(url, name):
    """Of all samples of a metric, as ``/metrics`` has it."""
    with urllib.request.urlopen(f"{url}/metrics?name[]={name}", timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return sum(one.value for family in families for one in family.samples)


class Served:
    """``boxwright serve --on`` as a process of its own."""

    def __init__(self, address, *arguments):
        command = [sys.executable, "-m", "boxwright", "serve", *arguments, "--on", address, "--port", "0"]
        command += ["--backend", "onnxruntime", "--precision", "fp32"]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        lines = iter(self.process.stdout.readline, "")  # Ray's own among them
        self.url = next(found[0] for line in lines if (found := re.search(r"http://[\d.:]+", line)))

    def ask(self, path, body=None):
        return ask(self.url, path, body)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@contextmanager
def load(served, path, picture, clients=4):
    """Statuses of requests that several clients send until the block ends."""
    statuses, going = [], threading.Event()

    def client():
        while not going.is_set():
            statuses.append(served.ask(path, picture)[0])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        going.set()
        for thread in threads:
            thread.join()


def replicas():
    return called("Replica:")


@pytest.fixture(scope="module")
def other(mar, tmp_path_factory):
    """The same model as version 2.0."""
    from support.hostile_archives import listed, members_of, packed

    members = members_of(mar)
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    manifest["model"]["modelVersion"] = "2.0"
    members["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()
    path = tmp_path_factory.mktemp("other") / "tiny2.mar"
    path.write_bytes(packed(listed(members)))
    return path


def test_a_replica_that_is_killed_and_new_archives_cost_no_request(cluster, mar, tmp_path, demo_data):
    archive = tmp_path / "tiny.mar"
    archive.write_bytes(Path(mar).read_bytes())
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    served = Served(cluster.address, archive, "--replicas", "2")
    counted = []

    def pictures():
        counted.append(sum_of(served.url, "boxwright_pictures_total"))
        return counted[-1]

    try:
        expected = served.ask("/predictions/tiny", picture)
        assert expected[0] == 200
        with load(served, "/predictions/tiny", picture) as statuses:
            before = {one.pid for one in until(lambda: len(replicas()) == 2 and replicas())}
            until(lambda: len(statuses) > 40)
        sent = 1 + len(statuses)
        until(lambda: pictures() == sent)  # of both replicas, a second late
        assert sum_of(served.url, "boxwright_workers") == 2
        with load(served, "/predictions/tiny", picture) as statuses:
            os.kill(min(before), signal.SIGKILL)
            until(lambda: pictures() and len(replicas()) == 2 and {one.pid for one in replicas()} != before)
            sent = len(statuses)
            until(lambda: len(statuses) > sent + 40)
            before = {one.pid for one in replicas()}
            os.utime(archive)
            served.process.send_signal(signal.SIGHUP)
            until(lambda: pictures() and len(replicas()) == 2 and not {one.pid for one in replicas()} & before)
        assert set(statuses) == {200}
        assert counted == sorted(counted)  # though one replica is gone, and then both
        assert served.ask("/predictions/tiny", picture) == expected
        assert served.ask("/predictions/none", picture)[0] == 404
    finally:
        assert served.end() == 0


def test_a_canary_gets_its_share_and_the_endpoint_answers_as_in_training(cluster, mar, other, demo_data):
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    served = Served(cluster.address, mar, "--canary", f"{other}=10%")
    try:
        versions = Counter()
        for _ in range(400):
            status, answer = served.ask("/v2/models/tiny", None)
            assert status == 200
            versions[tuple(answer["versions"])] += 1
        assert set(versions) == {("1.0",), ("2.0",)}
        assert 20 < versions["2.0",] < 64  # 40 expected; beyond that once in ten thousand
        assert served.ask("/predictions/tiny/2.0", picture)[0] == 200
        found = boxwright.evaluate_endpoint(mar, demo_data, url=f"{served.url}/predictions/tiny", split="valid")
        assert found.failures == ()
    finally:
        assert served.end() == 0


@pytest.fixture(scope="module")
def serving(whole_cluster):
    """Ray Serve, asked from this process; the URL of its proxy."""
    from ray import serve

    from boxwright.scale import connected

    whole_cluster.restore()
    with connected(whole_cluster.address):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()


@pytest.fixture
def deployed(serving):
    """Deploys a ``Handler`` and returns its handle; it goes with Ray Serve."""
    from ray import cloudpickle, serve

    cloudpickle.register_pickle_by_value(slow_handler)

    def deploy(name, **options):
        kind = serve.deployment(slow_handler.Handler, ray_actor_options={"num_cpus": 0}, health_check_period_s=5)
        return serve.run(kind.options(**options).bind(), name=name, route_prefix=None)

    return deploy


def running(name):
    """How many replicas answer."""
    from ray import serve

    (deployment,) = serve.status().applications[name].deployments.values()
    return deployment.replica_states.get("RUNNING", 0)


def test_a_picture_that_ends_each_replica_gets_two_of_them(deployed):
    with TestClient(make_relay([Group(_asking(deployed("fragile", num_replicas=3)))])) as client:
        before = {one.pid for one in until(lambda: len(replicas()) == 3 and replicas())}
        answer = client.post("/predictions/tiny", content=b"poison")
        assert len(before & {one.pid for one in replicas()}) == 1
        assert answer.status_code == 503
        assert answer.json()["message"] == "2 replicas were lost with this request; it gets no other."
        assert client.post("/predictions/tiny", content=b"picture").text == "answer"


def test_replicas_come_with_what_waits_and_go_without(deployed):
    settings = Replicas(1, 2, waiting=2).settings()
    quick = {"upscale_delay_s": 0, "downscale_delay_s": 1, "metrics_interval_s": 0.2, "look_back_period_s": 1}
    settings["autoscaling_config"] |= quick  # Ray Serve's own pace is half a minute, and ten to give one back
    ask = _asking(deployed("scaled", **settings))
    assert running("scaled") == 1

    async def busy():
        request = Asked("POST", "/predictions/tiny", b"/predictions/tiny", b"", (), b"picture")
        async with asyncio.timeout(120):
            while await asyncio.to_thread(running, "scaled") < 2:
                await asyncio.gather(*(ask(request) for _ in range(8)))

    asyncio.run(busy())
    until(lambda: running("scaled") == 1)


def test_a_configuration_for_ray_serves_own_command(serving, mar, other, tmp_path, demo_data):
    config = tmp_path / "serve.yaml"
    command = [sys.executable, "-m", "boxwright", "serve", mar, "--on", "ray", "--replicas", "1-3"]
    command += ["--canary", f"{other}=10%", "--write-config", config, "--port", "0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    document = yaml.safe_load(config.read_text())
    ServeDeploySchema.model_validate(document)
    (application,) = document["applications"]
    scaling = application["deployments"][1]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 3)
    module, name = application["import_path"].split(":")
    target = getattr(importlib.import_module(module), name)(application["args"])
    serve.run(target, name=application["name"], route_prefix=application["route_prefix"])
    picture = next((demo_data / "test").glob("*.jpg"))
    predictor = boxwright.Predictor(mar, backend="onnxruntime", threads=1)
    for _ in range(3):
        told = ask(serving, "/predictions/tiny", picture.read_bytes())
        assert told == (200, predictor(picture).to_answer(predictor.spec.class_names))
    until(lambda: sum_of(serving, "boxwright_pictures_total") == 3)
    assert sum_of(serving, "boxwright_workers") == 2  # one of them the canary's
