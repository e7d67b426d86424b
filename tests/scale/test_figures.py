"""The metrics of many replicas as one page."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from boxwright.runtime import Detections
from boxwright.scale.figures import Figures
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.jobs import Answer, Busy
from boxwright.serving.metrics import ADDITIVE, PER_REQUEST, Metrics


def samples(text):
    """Values by name and labels, of a text that the client library's parser reads."""
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families), "a family is there twice"
    found = [((one.name, *sorted(one.labels.items())), one.value) for family in families for one in family.samples]
    assert len(dict(found)) == len(found), "a sample is there twice"
    return dict(found)


def page(pictures=0, queue=0, ready=1, requests=0):
    return (
        f'# TYPE boxwright_pictures_total counter\nboxwright_pictures_total{{model="a"}} {pictures}\n'
        f"# TYPE boxwright_queue_pictures gauge\nboxwright_queue_pictures {queue}\n"
        f"# TYPE boxwright_ready gauge\nboxwright_ready {ready}\n"
        f"# TYPE boxwright_requests_total counter\nboxwright_requests_total {requests}\n"
        "# TYPE boxwright_request_seconds histogram\n"
        f'boxwright_request_seconds_bucket{{le="+Inf"}} {requests}\nboxwright_request_seconds_count {requests}\n'
        "# TYPE boxwright_stage_seconds histogram\n"
        f'boxwright_stage_seconds_bucket{{le="1.0"}} {pictures}\nboxwright_stage_seconds_sum {0.5 * pictures}\n'
    )


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def figures(clock):
    return Figures(clock)


def test_counts_are_summed_and_gauges_that_do_not_count_get_a_label(figures):
    figures.tell("a", page(pictures=3, queue=2, requests=4))
    figures.tell("b", page(pictures=5, queue=1, ready=0, requests=6))
    found = samples(figures.page(page(requests=9)))
    assert found["boxwright_pictures_total", ("model", "a")] == 8
    assert found["boxwright_stage_seconds_bucket", ("le", "1.0")] == 8
    assert found["boxwright_stage_seconds_sum",] == 4
    assert found["boxwright_queue_pictures",] == 3
    ready = {key[1][1]: value for key, value in found.items() if key[0] == "boxwright_ready"}
    assert ready == {"front": 1, "a": 1, "b": 0}
    assert found["boxwright_requests_total",] == 9  # as clients count them, who know nothing of replicas
    assert found["boxwright_request_seconds_count",] == 9


def test_a_later_word_takes_the_place_of_an_earlier_one(figures):
    figures.tell("a", page(pictures=3))
    figures.tell("a", page(pictures=4))
    assert samples(figures.page())["boxwright_pictures_total", ("model", "a")] == 4


def test_the_counts_of_a_lost_replica_stay_and_its_gauges_go(figures, clock):
    figures.tell("a", page(pictures=3, queue=2))
    for clock.now in (16.0, 100.0, 601.0, 10_000.0):
        figures.tell("b", page(pictures=5, queue=1))
        found = samples(figures.page())
        assert found["boxwright_pictures_total", ("model", "a")] == 8
        assert found["boxwright_queue_pictures",] == 1
        assert ("boxwright_ready", ("replica", "a")) not in found


def test_one_that_was_taken_for_lost_is_not_counted_twice(figures, clock):
    figures.tell("a", page(pictures=3))
    clock.now = 1000.0
    assert samples(figures.page())["boxwright_pictures_total", ("model", "a")] == 3
    figures.tell("a", page(pictures=4))
    assert samples(figures.page())["boxwright_pictures_total", ("model", "a")] == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.floats(0, 700)), max_size=12))
def test_a_counter_never_falls(events):
    clock = Clock()
    figures, counted, before = Figures(clock), dict.fromkeys("abc", 0), 0.0
    for replica, more, later in events:
        clock.now += later
        counted[replica] += more
        figures.tell(replica, page(pictures=counted[replica]))
        now = samples(figures.page())["boxwright_pictures_total", ("model", "a")]
        assert before <= now <= sum(counted.values())
        before = now


@pytest.fixture(scope="module")
def real(mar):
    """The page of a server to which everything has happened once."""
    engine = Engine(load_models([mar]))
    metrics = Metrics(engine, window=5, least=1)
    (model,) = engine.models.values()
    metrics.observe(model, Answer(Detections.empty(), {"decode": 0.1, "queue": 0.1, "network": 0.1}, 1))
    metrics.observe(model, Busy("full"))
    metrics._requests["GET", 404] += 1
    metrics._refused['a "kind" of \\ its own'] += 1
    yield metrics.text()
    engine.close(5)


def test_the_page_of_one_server_keeps_its_names_and_values(figures, real):
    figures.tell("a", real)
    text = figures.page(real)  # of itself, as if it stood in front of itself
    found, plain = samples(text), samples(real)
    assert {key[0] for key in found} == {key[0] for key in plain}
    for (name, *labels), value in plain.items():
        if (labelled := (name, *sorted([*labels, ("replica", "a")]))) in found:
            assert found[labelled] == value
        else:
            assert found[(name, *labels)] == (value if name.startswith(tuple(PER_REQUEST)) else 2 * value)
    kinds = {line for line in real.splitlines() if line.startswith(("# TYPE", "# HELP"))}
    assert {line for line in text.splitlines() if line.startswith("#")} == kinds


def test_names_that_count_are_names_of_a_server(real):
    kinds = {family.name: family.type for family in text_string_to_metric_families(real)}
    assert {kinds[name] for name in ADDITIVE} == {"gauge"}
    assert {kinds[name] for name in PER_REQUEST} == {"counter", "histogram"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("boxwright_pictures", {"boxwright_pictures_total"}),
        ("boxwright_pictures_total", {"boxwright_pictures_total"}),
        ("boxwright_stage_seconds_sum", {"boxwright_stage_seconds_sum"}),
        ("Requests4XX", {"Requests4XX"}),
        ("nothing", set()),
    ],
)
def test_some_names_only(figures, real, name, given):
    figures.tell("a", real)
    lines = [line for line in figures.page(real, [name]).splitlines() if not line.startswith("#")]
    assert {re.split("[{ ]", line)[0] for line in lines} == given
