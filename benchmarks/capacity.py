"""A billion pictures a day and 10,000 requests a second, from measured costs: the tables of docs/internet-scale.md.

    python benchmarks/capacity.py

What was measured is quoted from benchmarks/RESULTS.md, word by word; everything else is an assumption, and listed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tier import Tier, simulate

DAY = 86_400.0


@dataclass(frozen=True)
class Measured:
    """A figure of benchmarks/RESULTS.md.

    Attributes:
        what: it is.
        value: in the unit that ``what`` names.
        quote: of the row that it is from.
    """

    what: str
    value: float
    quote: str


@dataclass(frozen=True)
class Network:
    """A detector that was measured on two cores, in fp32.

    Attributes:
        name: of it.
        bare: pictures per second, without HTTP.
        served: answers per second over HTTP, 4 clients.
        memory: MiB of a server.
    """

    name: str
    bare: Measured
    served: Measured
    memory: Measured


SMALL = Network(
    "small (192 x 192)",
    Measured("small, bare loop, pictures/s", 168, "| 4 clients, answers/s | 130 (121 to 138) | 168 (166 to 171) |"),
    Measured("small, served, answers/s", 130, "| 4 clients, answers/s | 130 (121 to 138) | 168 (166 to 171) |"),
    Measured("small, memory of a server, MiB", 137, "| memory, MiB | **137** | | 544 |"),
)
LARGE = Network(
    "ResNet-50 (640 x 640)",
    Measured("ResNet-50, bare loop, pictures/s", 1.12, "| 4 clients, answers/s | **1.09** | 1.12 | .75 | .74 |"),
    Measured("ResNet-50, served, answers/s", 1.09, "| 4 clients, answers/s | **1.09** | 1.12 | .75 | .74 |"),
    Measured("ResNet-50, memory of a server, MiB", 823, "| memory, MiB | 823 | | 1123 | 991 |"),
)
NETWORKS = (SMALL, LARGE)
LOOP = Measured("a server's event loop per request, ms", 1.4, "3.0 to 3.3 ms, of that 1.4 in the event loop's thread")


@dataclass(frozen=True)
class Assumed:
    """What was not measured."""

    pictures_a_day: float = 1e9
    requests_a_second: float = 10_000.0
    picture_bytes: float = 200_000.0
    answer_bytes: float = 500.0
    cores: int = 32
    memory_gib: float = 128.0
    gigabits: float = 10.0
    overhead: float = 0.10
    load: float = 0.7
    listing_keys: int = 1000
    listing_seconds: float = 0.1
    name_bytes: float = 150.0
    reads_a_second: float = 5_500.0
    prefixes: int = 24


WHY = {
    "pictures_a_day": "pictures a day; none is computed twice",
    "requests_a_second": "requests a second, at random moments, one picture each",
    "picture_bytes": "bytes of a picture as a JPEG",
    "answer_bytes": "bytes of an answer: a handful of boxes, as JSON or as a row of Parquet",
    "cores": "cores of a node; sixteen times those that were measured do sixteen times as much",
    "memory_gib": "GiB of memory of a node",
    "gigabits": "Gbit/s of a node's network",
    "overhead": "share that Ray costs: the goal of `benchmarks/scale.py`, not its result",
    "load": "share of what they can do that nodes are given",
    "listing_keys": "names in one answer of a store that is asked for a list",
    "listing_seconds": "seconds for such an answer",
    "name_bytes": "bytes that one name takes in the memory of the command",
    "reads_a_second": "reads a second from one prefix of a store (what S3 documents)",
    "prefixes": "prefixes that pictures lie under: one per hour",
}


def main() -> None:
    """Print all tables."""
    for title, table in tables().items():
        print(f"\n{title}\n\n{table}", end="")


def tables(given: Assumed = Assumed()) -> dict[str, str]:
    """By title, as they are in docs/internet-scale.md."""
    return {
        "measured": _table(("measured, on two cores", "", "row of benchmarks/RESULTS.md"), _measured()),
        "assumed": _table(("assumed", ""), ((WHY[name], _number(value)) for name, value in vars(given).items())),
        "batch": _table(("a billion pictures a day", *(one.name for one in NETWORKS)), _batch(given)),
        "serving": _table(("10,000 requests a second", *(one.name for one in NETWORKS)), _serving(given)),
        "bottlenecks": _table(("bottleneck", "as it is", "limit", "changed"), _bottlenecks(given)),
        "lost": _table(("replicas", "a replica lives", "p50 ms", "p99 ms", "asked again"), _lost(given)),
    }


def _measured() -> Iterator[Sequence[str]]:
    everything = [one for network in NETWORKS for one in (network.bare, network.served, network.memory)]
    for one in (*everything, LOOP):
        yield one.what, _number(one.value), "`" + one.quote.replace("|", r"\|") + "`"


def nodes(given: Assumed, pictures_a_second: float, on_two_cores: float) -> int:
    """Nodes for a rate, at their load and with what Ray costs."""
    each = on_two_cores / 2 * given.cores / (1 + given.overhead) * given.load
    return math.ceil(pictures_a_second / each)


def _batch(given: Assumed) -> Iterator[Sequence[str]]:
    rate = given.pictures_a_day / DAY
    counts = [nodes(given, rate, one.bare.value) for one in NETWORKS]
    read = rate * given.picture_bytes * 8 / 1e9
    yield "pictures/s", *[_number(rate)] * 2
    yield "nodes", *map(_number, counts)
    yield "network, all nodes, Gbit/s", *[_number(read)] * 2
    yield "network of one node, Gbit/s", *(_number(read / count) for count in counts)
    yield "pictures read a day, TB", *[_number(given.pictures_a_day * given.picture_bytes / 1e12)] * 2
    yield "answers written a day, TB", *[_number(given.pictures_a_day * given.answer_bytes / 1e12)] * 2
    yield "core-hours for a million pictures", *(_number(2e6 / one.bare.value / 3600) for one in NETWORKS)


def _serving(given: Assumed) -> Iterator[Sequence[str]]:
    counts = [nodes(given, given.requests_a_second, one.served.value) for one in NETWORKS]
    memory = [given.cores / 2 * one.memory.value / 1024 for one in NETWORKS]
    yield "nodes with replicas", *map(_number, counts)
    yield "replicas of two cores", *(_number(count * given.cores // 2) for count in counts)
    yield f"memory of a node's replicas, GiB of {given.memory_gib:g}", *map(_number, memory)
    yield "network into the tier, Gbit/s", *[_number(given.requests_a_second * given.picture_bytes * 8 / 1e9)] * 2
    yield (
        "and once more behind the parts in front",
        *[_number(given.requests_a_second * given.picture_bytes * 8 / 1e9)] * 2,
    )
    yield "parts in front, processes", *[_number(fronts(given))] * 2


def fronts(given: Assumed) -> int:
    """Processes in front for the requests, at their load."""
    return math.ceil(given.requests_a_second * LOOP.value / 1000 / given.load)


def _bottlenecks(given: Assumed) -> Iterator[Sequence[str]]:
    one_front = 1000 / LOOP.value
    yield (
        "the one process in front of `serve --on`",
        f"{_number(one_front)} requests/s",
        f"{_number(given.requests_a_second)} requests/s",
        f"{fronts(given)} processes: `num_replicas` of the part in front in the file of `--write-config`",
    )
    hours = given.pictures_a_day / given.listing_keys * given.listing_seconds / 3600
    gib = given.pictures_a_day * given.name_bytes / 2**30
    minutes, each = 60 * hours / given.prefixes, gib / given.prefixes
    yield (
        "the list of pictures, which one command makes and holds",
        f"{_number(hours)} h and {_number(gib)} GiB",
        f"24 h, {given.memory_gib:g} GiB",
        f"{given.prefixes} commands: {_number(minutes)} min, {_number(each)} GiB each",
    )
    reads = given.pictures_a_day / DAY
    yield (
        "reads of single pictures from one prefix",
        f"{_number(reads)} reads/s",
        f"{_number(given.reads_a_second)} reads/s",
        f"the same {given.prefixes} commands side by side: {_number(reads / given.prefixes)} reads/s each",
    )


def _lost(given: Assumed) -> Iterator[Sequence[str]]:
    """The tier of the small network as events, for six seconds."""
    service = (1 + given.overhead) / SMALL.served.value
    count = math.ceil(given.requests_a_second * service / given.load)
    for lives, life in (("for ever", math.inf), ("an hour", 3600.0), ("a minute", 60.0)):
        times = partial(random.Random.gammavariate, alpha=16, beta=service / 16)  # a quarter of the mean as deviation
        tier = Tier(given.requests_a_second, times, count, hop=0.002, life=life, start=20.0)
        found = simulate(tier, 6.0)
        both = [f"{1000 * found.quantile(share):.1f}" for share in (0.5, 0.99)]
        yield _number(count), lives, *both, str(found.repeated)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("|  |", "| |")


if __name__ == "__main__":
    main()
