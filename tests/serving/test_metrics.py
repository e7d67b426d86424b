"""Prometheus metrics: what they count, their text, TorchServe's names."""

import gc
import re
from concurrent.futures import Future

import anyio
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from boxwright.runtime import Detections, Execution
from boxwright.serving.app import create_app, make_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.intake import Intake
from boxwright.serving.jobs import Answer, Busy, NotAnswered
from boxwright.serving.metrics import STAGES, Metrics, create_metrics_app, metrics_protocol
from boxwright.serving.settings import Limits, ServerSettings
from boxwright.serving.torchserve import PROTOCOL
from boxwright.serving.v2 import PROTOCOL as V2
from support.exported import with_export


@pytest.fixture(scope="module")
def quick(mar, tmp_path_factory):
    """An archive that answers two circles of scores .9 and .8 at once."""
    return with_export(mar, tmp_path_factory.mktemp("quick") / "tiny.mar", "onnxruntime-fp32")


@pytest.fixture
def engine(quick):
    engine = Engine(load_models([quick], Execution("onnxruntime")))
    yield engine
    engine.close(5)


@pytest.fixture
def metrics(engine):
    return Metrics(engine)


@pytest.fixture
def served(engine, metrics):
    """The application of all protocols, counted."""
    service = Service(engine, ServerSettings(limits=Limits(max_body=200_000)))
    metrics.watch(service.intake)
    return metrics.around(make_app(service, (V2, metrics_protocol(metrics), PROTOCOL)))


@pytest.fixture
def picture(odd_pictures):
    return next(one for one in odd_pictures if one.suffix == ".jpg" and one.stat().st_size < 200_000).read_bytes()


def samples(text):
    """Values by name and labels, of a text that the client library's parser reads."""
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families), "a family is there twice"
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def value(metrics, name, **labels):
    named = {key.rstrip("_"): text for key, text in labels.items()}
    found = [
        v for (n, *have), v in samples(metrics.text()).items() if n == name and named.items() <= dict(have).items()
    ]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


def test_a_picture_is_counted_at_every_stage(ask, served, metrics, picture):
    for _ in range(3):
        assert ask("POST", "/predictions/tiny", served, content=picture).status_code == 200
    for stage in STAGES:
        assert value(metrics, "boxwright_stage_seconds_count", model="tiny", stage=stage) == 3, stage
    assert value(metrics, "boxwright_stage_seconds_sum", stage="network") > 0
    assert value(metrics, "boxwright_stage_seconds_sum", stage="decode") > 0
    assert value(metrics, "boxwright_pictures_total", model="tiny", version="1.0") == 3
    assert value(metrics, "boxwright_requests_total", method="POST", status="200") == 3
    assert value(metrics, "boxwright_request_seconds_count") == 3


def test_detections_are_counted_by_class_and_by_score(ask, served, metrics, picture):
    ask("POST", "/predictions/tiny", served, content=picture)
    ask("POST", "/v2/models/tiny/infer", served, content=picture, headers={"Inference-Header-Content-Length": "0"})
    assert value(metrics, "boxwright_detections_total", class_="circle") == 4
    assert value(metrics, "boxwright_detections_total", class_="square") == 0
    below = [
        value(metrics, "boxwright_detection_scores_bucket", le=end) for end in ("0.7", "0.8", "0.9", "1.0", "+Inf")
    ]
    assert below == [0, 2, 4, 4, 4]
    assert value(metrics, "boxwright_detection_scores_sum") == pytest.approx(2 * (0.9 + 0.8))


def test_refused_pictures_and_requests_are_counted_by_kind(ask, served, metrics):
    assert ask("POST", "/predictions/tiny", served, content=b"no picture").status_code == 415
    assert ask("POST", "/predictions/none", served, content=b"no picture").status_code == 404
    assert ask("POST", "/predictions/tiny", served, content=bytes(200_001)).status_code == 413
    assert value(metrics, "boxwright_errors_total", kind="UnsupportedPicture") == 1
    assert value(metrics, "boxwright_refused_requests_total", kind="ModelNotFoundException") == 1
    assert value(metrics, "boxwright_refused_requests_total", kind="RequestEntityTooLargeException") == 1
    assert value(metrics, "boxwright_requests_total", method="POST", status="413") == 1
    assert value(metrics, "Requests4XX_total") == 3
    assert value(metrics, "Requests2XX_total") == 0


def test_a_client_that_left_is_no_refused_request(served, metrics):
    scope = {
        "type": "http", "method": "POST", "path": "/predictions/tiny", "headers": [], "query_string": b"",
        "client": None, "http_version": "1.1", "scheme": "http", "server": ("s", 80), "root_path": "",
    }  # fmt: skip
    sent = []

    async def leave():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    anyio.run(served, scope, leave, send)
    assert sent == []
    assert value(metrics, "boxwright_requests_total", method="POST", status="0") == 1
    assert value(metrics, "Requests4XX_total") == 0


def test_a_method_that_a_client_made_up_is_no_label(ask, served, metrics):
    ask("BREW", "/predictions/tiny", served)
    assert value(metrics, "boxwright_requests_total", method="OTHER") == 1
    assert "BREW" not in metrics.text()


def test_batches_are_counted_once_each(engine, metrics):
    (model,) = engine.models.values()
    empty = Detections.empty()
    for size in (1, 3, 3, 3, 4, 4, 4, 4):
        metrics.observe(model, Answer(empty, {"decode": 0.0, "queue": 0.0, "network": 0.1}, size))
    assert value(metrics, "boxwright_batch_pictures_count") == 3
    assert value(metrics, "boxwright_batch_pictures_sum") == 8
    assert value(metrics, "boxwright_batch_pictures_bucket", le="1.0") == 1
    assert value(metrics, "boxwright_batch_pictures_bucket", le="2.0") == 1
    assert value(metrics, "boxwright_batch_pictures_bucket", le="4.0") == 3


def test_gauges_say_what_is_there_now(engine, metrics):
    (model,) = engine.models.values()
    intake = Intake(Limits())
    metrics.watch(intake)
    body = intake.empty()
    body.write(bytes(321))
    assert value(metrics, "boxwright_bytes_in_flight") == 321
    body.release()
    assert value(metrics, "boxwright_bytes_in_flight") == 0
    assert value(metrics, "boxwright_workers", model="tiny") == len(model.workers) > 0
    assert value(metrics, "boxwright_ready") == 1
    engine.ready = False
    assert value(metrics, "boxwright_ready") == 0
    assert value(metrics, "boxwright_model_info", backend="onnxruntime", precision="fp32") == 1
    assert value(metrics, "boxwright_worker_memory_bytes", worker="9000") > 10_000_000
    assert value(metrics, "process_resident_memory_bytes") > 10_000_000


class Held:
    """A picture whose decoding waits until it is let go."""

    def __init__(self):
        self.gate = Future()

    def read(self):
        self.gate.result(60)
        return b""

    def release(self):
        pass


def test_the_queue_is_seen_while_it_waits_and_refuses(engine, metrics):
    (model,) = engine.models.values()
    model.reconfigure(queue_size=2)
    held = [Held(), Held(), Held()]
    waiting = [engine.submit("tiny", one)[1] for one in held[:2]]
    assert value(metrics, "boxwright_pictures_pending") == 2
    assert value(metrics, "boxwright_queue_pictures") == 2
    assert value(metrics, "boxwright_queue_limit") == 2
    with pytest.raises(Busy):
        engine.submit("tiny", held[2])
    waiting[0].cancel()
    for one in held:
        one.gate.set_result(None)
    with pytest.raises(Exception, match=r"(?i)picture|empty"):
        waiting[1].result(60)
    assert value(metrics, "boxwright_errors_total", kind="Busy") == 1
    assert value(metrics, "boxwright_cancelled_pictures_total") == 1
    assert value(metrics, "boxwright_pictures_pending") == 0


def test_metrics_of_different_servers_do_not_mix(engine, quick):
    one, other = Metrics(engine), Metrics(Engine(load_models([quick], Execution("onnxruntime"))))
    (model,) = engine.models.values()
    for observer in engine.observers:
        observer(model, NotAnswered("no"))
    assert value(one, "boxwright_errors_total", kind="NotAnswered") == 1
    assert "NotAnswered" not in other.text()
    other.engine.close(5)


def test_an_engine_forgets_metrics_that_are_gone(engine):
    before = len(engine.observers)
    kept = Metrics(engine)
    for _ in range(3):
        Metrics(engine)
    gc.collect()
    assert len(engine.observers) == before + 1
    assert value(kept, "boxwright_ready") == 1


def test_a_version_that_is_served_no_longer_has_no_series(engine, metrics, ask, served, picture):
    ask("POST", "/predictions/tiny", served, content=picture)
    assert 'model="tiny"' in metrics.text()
    engine.remove("tiny")
    assert "tiny" not in metrics.text()


TORCHSERVE = {
    "Requests2XX": r'\{Level="Host",Hostname="[^"]+",\}',
    "Requests4XX": r'\{Level="Host",Hostname="[^"]+",\}',
    "Requests5XX": r'\{Level="Host",Hostname="[^"]+",\}',
    "ts_inference_requests_total": r'\{model_name="tiny",model_version="default",hostname="[^"]+",\}',
    "ts_inference_latency_microseconds": r'\{model_name="tiny",model_version="default",hostname="[^"]+",\}',
    "ts_queue_latency_microseconds": r'\{model_name="tiny",model_version="default",hostname="[^"]+",\}',
    "QueueTime": r'\{Level="Host",Hostname="[^"]+",\}',
    "WorkerThreadTime": r'\{Level="Host",Hostname="[^"]+",\}',
    "CPUUtilization": r'\{Level="Host",Hostname="[^"]+",\}',
    "MemoryUsed": r'\{Level="Host",Hostname="[^"]+",\}',
    "MemoryAvailable": r'\{Level="Host",Hostname="[^"]+",\}',
    "MemoryUtilization": r'\{Level="Host",Hostname="[^"]+",\}',
    "DiskUsage": r'\{Level="Host",Hostname="[^"]+",\}',
    "DiskUtilization": r'\{Level="Host",Hostname="[^"]+",\}',
    "DiskAvailable": r'\{Level="Host",Hostname="[^"]+",\}',
    "HandlerTime": r'\{ModelName="tiny",Level="Model",Hostname="[^"]+",\}',
    "PredictionTime": r'\{ModelName="tiny",Level="Model",Hostname="[^"]+",\}',
}


def test_torchserves_names_have_its_labels_and_its_comma(ask, served, metrics, picture):
    ask("POST", "/predictions/tiny", served, content=picture)
    text = metrics.text()
    for name, labels in TORCHSERVE.items():
        assert re.search(rf"(?m)^{name}{labels} \d+\.\d+(e[-+]?\d+)?$", text), name
        assert len(re.findall(rf"(?m)^# TYPE {name} (counter|gauge)$", text)) == 1, name
    assert value(metrics, "ts_inference_requests_total", model_name="tiny") == 1
    assert value(metrics, "ts_inference_latency_microseconds_total") > 0
    assert value(metrics, "Requests2XX_total") == 1


def test_names_filter(ask, served, engine, metrics, picture):
    ask("POST", "/predictions/tiny", served, content=picture)
    answer = ask("GET", "/metrics", served, params={"name[]": ["Requests2XX", "boxwright_pictures_total"]})
    assert set(samples(answer.text)) == {
        ("Requests2XX_total", *sorted({"Level": "Host", "Hostname": host_in(answer.text)}.items())),
        ("boxwright_pictures_total", ("model", "tiny"), ("version", "1.0")),
    }
    whole = ask("GET", "/metrics?name[]=boxwright_stage_seconds", served).text
    assert {name for name, *_ in samples(whole)} == {
        "boxwright_stage_seconds_bucket", "boxwright_stage_seconds_count", "boxwright_stage_seconds_sum",
    }  # fmt: skip
    assert ask("GET", "/metrics?name[]=nothing", served).text == ""


def host_in(text):
    return re.search(r'Hostname="([^"]+)"', text).group(1)


def test_the_call_answers_prometheus_text(ask, served):
    answer = ask("GET", "/metrics", served)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert ("boxwright_ready",) in samples(answer.text)
    refused = ask("POST", "/metrics", served)
    assert (refused.status_code, refused.json()["type"]) == (405, "MethodNotAllowedException")


def test_a_port_of_its_own_has_metrics_and_nothing_else(ask, metrics):
    app = create_metrics_app(metrics)
    assert ("boxwright_ready",) in samples(ask("GET", "/metrics", app).text)
    refused = ask("POST", "/predictions/tiny", app, content=b"x")
    assert (refused.status_code, refused.json()["type"]) == (404, "ResourceNotFoundException")
    assert "boxwright_requests_total{" not in metrics.text()


def test_class_names_of_any_text_stay_readable(metrics, engine):
    (model,) = engine.models.values()
    model.spec.__dict__["classes"] = tuple(
        type(one)(one.id, name) for one, name in zip(model.spec.classes, ('a"b', "c\\d\n", "é{}"), strict=True)
    )
    metrics.observe(model, Answer(Detections(np.zeros((1, 4)), np.ones(1), np.ones(1)), {}, 1))
    assert value(metrics, "boxwright_detections_total", class_="c\\d\n") == 1


def test_requests_from_many_clients_are_all_counted(engine, metrics, served, picture):
    async def many():
        transport = httpx.ASGITransport(served)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://server") as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(40):
                group.start_soon(lambda: client.post("/predictions/tiny", content=picture))

    anyio.run(many)
    assert value(metrics, "boxwright_pictures_total") == 40
    assert value(metrics, "boxwright_requests_total", status="200") == 40
    assert value(metrics, "boxwright_stage_seconds_count", stage="post") == 40


def test_predictions_offer_them_too(ask, engine):
    assert ("boxwright_ready",) in samples(ask("GET", "/metrics", create_app(engine)).text)
