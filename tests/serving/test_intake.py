"""Bodies on their way in: sizes, bytes in flight, slowness, spooling."""

import threading

import anyio
import pytest

from boxwright.serving.intake import Gone, Intake
from boxwright.serving.refusals import Refusal
from boxwright.serving.settings import Limits


def received(intake, chunks, announced=None, pause=0.0):
    """What ``receive`` makes of chunks that come one after another; None among them is a client that leaves."""
    messages = iter(chunks)

    async def receive():
        await anyio.sleep(pause)
        chunk = next(messages, b"")
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": messages.__length_hint__() > 0}

    async def run():
        return await intake.receive(receive, announced)

    return anyio.run(run)


@pytest.mark.parametrize("in_memory", [1, 10, 1000])
def test_a_body_is_what_came(in_memory):
    intake = Intake(Limits(in_memory=in_memory))
    body = received(intake, [b"one ", b"two ", b"three"])
    assert body.read() == b"one two three"
    assert intake.in_flight == body.size == 13
    body.release()
    body.release()
    assert intake.in_flight == 0


def test_one_byte_more_than_allowed_is_refused_and_given_back():
    intake = Intake(Limits(max_body=10))
    body = received(intake, [b"0" * 6, b"0" * 4])
    assert body.size == 10
    body.release()
    with pytest.raises(Refusal) as refused:
        received(intake, [b"0" * 6, b"0" * 5])
    assert refused.value.status == 413
    assert (intake.in_flight, intake.receiving) == (0, 0)


def test_what_is_announced_is_refused_before_it_comes():
    with pytest.raises(Refusal, match="larger than 10 bytes"):
        received(Intake(Limits(max_body=10)), [], announced=11)


def test_all_bodies_together_have_a_bound():
    intake = Intake(Limits(in_flight=10))
    first = received(intake, [b"0" * 8])
    with pytest.raises(Refusal) as refused:
        received(intake, [b"0" * 3])
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
    assert intake.in_flight == 8
    first.release()
    received(intake, [b"0" * 3]).release()


def test_a_body_that_comes_too_slowly_is_given_up():
    intake = Intake(Limits(patience=0.3, least_rate=1e6))
    with pytest.raises(Refusal) as refused:
        received(intake, [b"0"] * 100, pause=0.05)
    assert refused.value.status == 408
    assert (intake.in_flight, intake.receiving) == (0, 0)


def test_a_slow_body_that_keeps_the_rate_comes_in():
    intake = Intake(Limits(patience=0.3, least_rate=10))
    body = received(intake, [b"0" * 10] * 10, pause=0.1)  # 100 bytes a second, for a second
    assert body.size == 100
    body.release()


def test_no_body_may_take_for_ever():
    intake = Intake(Limits(body_seconds=0.4, least_rate=1))
    with pytest.raises(Refusal, match="too slowly"):
        received(intake, [b"0" * 1000] * 100, pause=0.05)


def test_a_client_that_leaves_leaves_nothing_behind():
    intake = Intake(Limits())
    with pytest.raises(Gone):
        received(intake, [b"0" * 10, None])
    assert (intake.in_flight, intake.receiving) == (0, 0)


def test_two_threads_that_release_a_body_give_it_back_once():
    class Slow(Intake):
        """Lets another thread come between."""

        def give(self, size):
            if self.others:
                other = threading.Thread(target=self.others.pop().release)
                other.start()
                other.join(30)
            super().give(size)

    intake = Slow(Limits())
    intake.others = []
    body = received(intake, [b"0" * 10])
    intake.others.append(body)
    body.release()
    assert (intake.others, intake.in_flight) == ([], 0)


def test_no_room_on_the_disk_is_a_refusal(monkeypatch):
    intake = Intake(Limits(in_memory=4))
    body = intake.empty()
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(Refusal) as refused:
        body.write(b"0" * 10)
    assert refused.value.status == 503
    body.release()
    assert intake.in_flight == 0
