"""A serving tier as events: arrivals, queues, batches, replicas that are lost and added; beside a real server.

    python benchmarks/tier.py --mar model-store/NAME.mar --picture PICTURE... [--seconds 12]
    python benchmarks/tier.py --plan MILLISECONDS [--rate 10000]

The first form measures a real server, each time before it is compared: one picture at a time gives the latencies, four
at a time the requests per second it can do. What of a latency is not in the latter, the connection and what goes on
beside the network, delays a request without holding up the next one. Then it is asked at random moments with .3, .6 and
.8 of what it can do, and the latencies are printed beside those of the simulation with the same rates: two and a half
minutes. The second form simulates a whole tier: so many requests per second on replicas with that service time, of
which some are lost.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

LOADS = (0.3, 0.6, 0.8)
AT_ONCE = 4  # requests that are always there, to find what a server can do
WARM_UP = 0.1  # of the simulated time, not counted


@dataclass(frozen=True)
class Tier:
    """What is simulated. Times in seconds.

    Attributes:
        rate: requests per second, at random moments.
        service: draws how long a picture takes, alone on a replica.
        replicas: at the beginning.
        batch: most pictures per call of the network. A call takes what waits, and waits for none.
        further: what each picture of a call after the first one takes, as a share of the first; 1: nothing is gained.
        hop: on the network and in front, per request, both ways.
        deadline: a request that would wait longer is refused.
        life: mean time until a replica is lost; infinite if none ever is.
        start: until a replica that was asked for answers.
        target: requests per replica, waiting and computed, that the number of replicas is kept at; None keeps it fixed.
        look: between two looks of the autoscaler.
        patience: for which fewer replicas must be enough before one is given back.
        most: replicas.
    """

    rate: float
    service: Callable[[random.Random], float]
    replicas: int = 1
    batch: int = 1
    further: float = 1.0
    hop: float = 0.0
    deadline: float = math.inf
    life: float = math.inf
    start: float = 10.0
    target: float | None = None
    look: float = 1.0
    patience: float = 60.0
    most: int = 100_000


@dataclass
class Outcome:
    """What came of it: latencies of the answered, how many were refused or repeated, replicas over time."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    repeated: int = 0
    replicas: list[int] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Of the latencies, seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@dataclass(eq=False)
class _Replica:
    waiting: deque[float] = field(default_factory=deque)  # moments of arrival
    computed: list[float] = field(default_factory=list)  # arrivals of the requests that are computed
    there: bool = True

    @property
    def load(self) -> int:
        return len(self.waiting) + len(self.computed)


def simulate(tier: Tier, seconds: float, seed: int = 0) -> Outcome:
    """Run a tier for so long."""
    draw = random.Random(seed)
    outcome = Outcome()
    replicas = [_Replica() for _ in range(tier.replicas)]
    events: list[tuple[float, int, Callable[[float], None]]] = []
    numbers = itertools.count()
    coming = 0
    enough_since = 0.0
    mean = statistics.mean(tier.service(draw) for _ in range(1000))
    each = mean * (1 + (tier.batch - 1) * tier.further) / tier.batch

    def at(moment: float, event: Callable[[float], None]) -> None:
        heapq.heappush(events, (moment, next(numbers), event))

    def arrive(now: float) -> None:
        at(now + draw.expovariate(tier.rate), arrive)
        give(now, now)

    def give(arrived: float, now: float) -> None:
        """To the emptier of two replicas, as Ray Serve does."""
        if not replicas:
            outcome.refused += 1
            return
        replica = min(draw.choices(replicas, k=2), key=lambda one: one.load)
        if replica.load * each > tier.deadline:
            outcome.refused += 1
            return
        replica.waiting.append(arrived)
        begin(replica, now)

    def begin(replica: _Replica, now: float) -> None:
        if replica.computed or not replica.waiting:
            return
        count = min(tier.batch, len(replica.waiting))
        replica.computed = [replica.waiting.popleft() for _ in range(count)]
        takes = tier.service(draw) * (1 + (count - 1) * tier.further)
        at(now + takes, lambda then: end(replica, then))

    def end(replica: _Replica, now: float) -> None:
        if not replica.there:
            return  # what it had was given to others
        if now > WARM_UP * seconds:
            outcome.latencies.extend(now - arrived + tier.hop for arrived in replica.computed)
        replica.computed = []
        begin(replica, now)

    def lose(now: float) -> None:
        at(now + draw.expovariate(max(len(replicas), 1) / tier.life), lose)
        if not replicas:
            return
        lost = replicas.pop(draw.randrange(len(replicas)))
        lost.there = False
        nonlocal coming
        coming += 1
        at(now + tier.start, add)
        had = [*lost.computed, *lost.waiting]
        outcome.repeated += len(had)
        for arrived in had:
            give(arrived, now)

    def add(now: float) -> None:
        nonlocal coming
        coming -= 1
        replicas.append(_Replica())

    def scale(now: float) -> None:
        nonlocal coming, enough_since
        at(now + tier.look, scale)
        outcome.replicas.append(len(replicas))
        if tier.target is None:
            return
        wanted = min(max(math.ceil(sum(one.load for one in replicas) / tier.target), 1), tier.most)
        more = wanted - len(replicas) - coming
        if more >= 0:
            enough_since = now
        for _ in range(more):
            coming += 1
            at(now + tier.start, add)
        if more < 0 and now - enough_since > tier.patience and len(replicas) > 1:
            given_back = min(replicas, key=lambda one: one.load)
            replicas.remove(given_back)  # it finishes what it has

    at(0.0, arrive)
    at(0.0, scale)
    if tier.life < math.inf:
        at(0.0, lambda now: at(now + draw.expovariate(tier.replicas / tier.life), lose))
    while events[0][0] < seconds:
        moment, _, event = heapq.heappop(events)
        event(moment)
    return outcome


def main() -> None:
    """Compare with a real server, or plan a tier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mar", type=lambda text: Path(text).resolve())
    parser.add_argument("--picture", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--plan", type=float, metavar="MILLISECONDS")
    parser.add_argument("--rate", type=float, default=10_000)
    options = parser.parse_args()
    if options.plan:
        _plan(options.plan / 1000, options.rate)
    elif options.mar and options.picture:
        _compare(options.mar, [path.read_bytes() for path in options.picture], options.seconds)
    else:
        parser.error("give --mar and --picture, or --plan")


def _compare(mar: Path, pictures: Sequence[bytes], seconds: float) -> None:
    from support.server import Served, post, read_answer, served

    requests = [post(f"/predictions/{mar.stem}", picture) for picture in pictures]

    def ask(server: Served, number: int) -> float:
        began = time.perf_counter()
        with server.connect(60) as connection:
            connection.sendall(requests[number % len(requests)])
            assert read_answer(connection)[0] == 200
        return time.perf_counter() - began

    def one_by_one(server: Served) -> list[float]:
        end, took = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            took.append(ask(server, len(took)))
        return took

    def most(server: Served) -> float:
        """Requests per second, if some are always there."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            began = time.perf_counter()
            answered = sum(map(len, pool.map(one_by_one, [server] * AT_ONCE)))
            return answered / (time.perf_counter() - began)

    def at_random(server: Served, rate: float) -> list[float]:
        draw, took, threads = random.Random(1), [], []
        due = time.perf_counter()
        for number in range(int(rate * seconds)):
            due += draw.expovariate(rate)
            time.sleep(max(0.0, due - time.perf_counter()))
            threads.append(threading.Thread(target=lambda number=number: took.append(ask(server, number))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return took

    with served(mar) as server:
        one_by_one(server)  # warm
        print("| of what it can do | requests/s | p50 ms, real | simulated | p99 ms, real | simulated | p99, ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for load in LOADS:
            alone, rate = one_by_one(server), load * most(server)  # anew, as machines change their speed
            real = Outcome(at_random(server, rate))
            model = simulate(calibrated(alone, rate / load, rate), max(20_000 / rate, 100))
            cells = [f"{1000 * one.quantile(share):.1f}" for share in (0.5, 0.99) for one in (real, model)]
            ratio = model.quantile(0.99) / real.quantile(0.99)
            print(f"| {load} | {rate:.1f} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def calibrated(alone: Sequence[float], most: float, rate: float) -> Tier:
    """The tier of one server that was measured.

    Args:
        alone: latencies of requests one at a time, seconds.
        most: requests per second that it can do.
        rate: requests per second that it is asked.
    """
    mean = statistics.mean(alone)
    share = min(1.0, 1 / (most * mean))  # of a latency that holds up the next request
    return Tier(rate, lambda draw: share * draw.choice(alone), hop=(1 - share) * mean)


def _plan(service: float, rate: float) -> None:
    """Replicas for a rate, and what the loss of some costs: with a mean life of a day, and of an hour."""

    def gamma(draw: random.Random) -> float:
        return draw.gammavariate(16, service / 16)  # a quarter of the mean as deviation, as measured

    print("| load | replicas | a replica lives | p50 ms | p99 ms | refused | repeated |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for load, life in itertools.product((0.5, 0.7, 0.85), (math.inf, 86_400.0, 3_600.0)):
        count = math.ceil(rate * service / load)
        tier = Tier(rate, gamma, count, 0.002, 2.0, life, 20.0)
        found = simulate(tier, max(300_000 / rate, 30.0))
        lives = "for ever" if life == math.inf else f"{life / 3600:g} h"
        both = " | ".join(f"{1000 * found.quantile(share):.1f}" for share in (0.5, 0.99))
        print(f"| {load} | {count} | {lives} | {both} | {found.refused} | {found.repeated} |", flush=True)


if __name__ == "__main__":
    main()
