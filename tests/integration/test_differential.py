"""The same requests to TorchServe 0.12 and to boxwright, with the same archive and settings; what differs is listed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from support.differential import Reply, compared, replay
from support.differential_archives import make_store
from support.differential_calls import CALLS, ENVELOPED, bodies
from support.differential_differences import DIFFERENCES, as_markdown
from support.served import serving
from support.torchserve import TOKENS, whole_torchserve

ALL = (*CALLS, *ENVELOPED)
PAGE = Path(__file__).parents[2] / "docs" / "moving-from-torchserve.md"


ROUNDS = ((CALLS, ["metrics_mode=prometheus"]), (ENVELOPED, ["service_envelope=kserve", TOKENS]))
"""Calls, and what the settings of both servers say further."""


@pytest.fixture(scope="module")
def answers(run, demo_data, odd_pictures, tmp_path_factory):
    """TorchServe's and ours, each by name of the call."""
    store = make_store(run, tmp_path_factory.mktemp("differential"))
    picture = min((demo_data / "valid").glob("*.jpg")).read_bytes()
    content = bodies(picture, {path.name: path.read_bytes() for path in odd_pictures})

    def replies(server, number):
        calls, settings = ROUNDS[number]
        folder = tmp_path_factory.mktemp(f"{server.__name__}-{number}")
        with server([store / "tiny.mar"], folder, *settings) as addresses:
            return replay(calls, addresses, content, folder)

    def torchserve(mars, folder, *settings):
        return whole_torchserve(mars, folder, 1, *settings)

    with ThreadPoolExecutor(2) as pool:  # TorchServe is slow to start
        theirs = list(pool.map(lambda number: replies(torchserve, number), range(2)))
    ours = [replies(serving, number) for number in range(2)]
    return {**theirs[0], **theirs[1]}, {**ours[0], **ours[1]}


def test_every_call_has_a_name_and_there_are_many():
    assert len({call.name for call in ALL}) == len(ALL)
    assert len(ALL) >= 200


@pytest.mark.parametrize("name", [call.name for call in ALL])
def test_the_answer_is_torchserves_but_for_what_is_listed(answers, name):
    theirs, ours = answers
    listed = [one for one in DIFFERENCES if one.covers(name)]
    unlisted = {
        part: values
        for part, values in compared(theirs[name], ours[name]).items()
        if not any(one.excuses(part, *values) for one in listed)
    }
    assert unlisted == {}


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.call)
def test_every_difference_is_there(answers, row):
    """A row that excuses nothing any more has to go, and so has a pattern of it."""
    theirs, ours = answers
    for pattern in row.calls:
        one = replace(row, calls=(pattern,))
        assert any(
            one.excuses(part, *values)
            for call in ALL
            if one.covers(call.name)
            for part, values in compared(theirs[call.name], ours[call.name]).items()
        ), pattern


def test_torchserve_answers_most_pictures(answers):
    """Else the comparison would be one of errors."""
    theirs, ours = answers
    for replies in (theirs, ours):
        assert sum(reply.status == 200 for reply in replies.values()) > 100
        assert all(replies[call.name].status == 200 for call in CALLS if call.name.startswith("odd "))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("status", {"status": 201}),
        ("body", {"body": b'[\n  {"fish": [1.0, 2.0, 3.0, 4.01]}\n]\n'}),
        ("body", {"body": b'[\n  {"ray": [1.0, 2.0, 3.0, 4.0]}\n]\n'}),
        ("body", {"body": b'[\n  {"fish": [1, 2.0, 3.0, 4.0]}\n]\n'}),
        ("field a", {"body": b'[\n  {"modelName": "x", "a": 2}\n]\n'}),
        ("body", {"body": b'[\n  {"modelName": "x", "b": 1}\n]\n'}),
        ("end", {"body": b'[\n  {"fish": [1.0, 2.0, 3.0, 4.0]}\n]'}),
        ("indented", {"body": b'[{"fish": [1.0, 2.0, 3.0, 4.0]}]\n'}),
        *(
            (part, {"headers": {name: value}})
            for part, name, value in (
                ("content-type", "content-type", "text/plain"),
                ("closes", "connection", "close"),
                ("caching", "pragma", "cache"),
                ("request id", "x-request-id", "1"),
                ("allow", "allow", "GET"),
                ("retry-after", "retry-after", "1"),
            )
        ),
    ],
)
def test_a_difference_is_seen(part, change):
    described = b"modelName" in change.get("body", b"")
    text = b'{"modelName": "x", "a": 1}' if described else b'{"fish": [1.0, 2.0, 3.0, 4.0]}'
    one = Reply(200, {}, b"[\n  " + text + b"\n]\n")
    assert list(compared(one, replace(one, **change))) == [part]
    assert compared(one, replace(one, body=one.body.replace(b"4.0", b"4.0000001"))) == {}


def test_the_page_shows_the_table():
    assert as_markdown() in PAGE.read_text()
