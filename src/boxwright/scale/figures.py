"""The metrics of many replicas as one page, with the names and the meaning of one server's. Nothing here knows Ray.

Each replica tells its page again and again; what it told last is kept. So a counter does not fall when a replica is
lost: what it had counted until its last word stays in the sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from boxwright.serving.metrics import ADDITIVE, PER_REQUEST

__all__ = ["FRONT", "SECONDS_BETWEEN", "Figures", "merged"]

FRONT = "front"
"""The ``replica`` of what the part in front says of itself."""

SECONDS_BETWEEN = 1.0
"""Between two words of a replica: as old are its figures, and so much of a lost one's counts is lost with it."""

_SILENT = 15.0  # seconds; then its gauges, which say what is now, are told no longer
_GONE = 600.0  # seconds; then its counts are added to those of others, or memory would grow with every replica lost

_Labels = tuple[tuple[str, str], ...]
_SUMMED = ("counter", "histogram", "summary")


@dataclass
class _Family:
    kind: str
    help: str
    samples: dict[tuple[str, _Labels], float] = field(default_factory=dict)

    def add(self, name: str, labels: _Labels, value: float) -> None:
        self.samples[name, labels] = self.samples.get((name, labels), 0.0) + value


_Families = dict[str, _Family]


class Figures:
    """What replicas have said, by replica.

    Args:
        now: seconds, of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[str, tuple[float, str]] = {}
        self._past: _Families = {}  # the counts of those that are gone
        self._gone: set[str] = set()

    def tell(self, replica: str, page: str) -> None:
        """Keep the page of a replica, in Prometheus' text format, in place of what it told before."""
        if replica not in self._gone:  # its counts are in the past already
            self._told[replica] = (self._now(), page)

    def page(self, front: str = "", names: Sequence[str] = ()) -> str:
        """All figures.

        Args:
            front: the page of the part in front, which alone says how many requests there were: one that is asked
                again is one for whoever sent it.
            names: of metrics or samples; only those are given. All by default.
        """
        self._forget()
        silent = {replica for replica, (when, _) in self._told.items() if self._now() - when > _SILENT}
        pages = {replica: page for replica, (_, page) in sorted(self._told.items())}
        return _text(merged(pages, front, silent, self._past), frozenset(names))

    def _forget(self) -> None:
        gone = {replica: page for replica, (when, page) in self._told.items() if self._now() - when > _GONE}
        self._past = merged(gone, silent=gone, past=self._past)
        self._gone.update(gone)
        for replica in gone:
            del self._told[replica]


def merged(
    pages: Mapping[str, str], front: str = "", silent: Iterable[str] = (), past: Mapping[str, _Family] | None = None
) -> _Families:
    """Pages as one: counters and histograms are summed, and the gauges of ``ADDITIVE``; other gauges get a label.

    Args:
        pages: by replica, in Prometheus' text format.
        front: the page of the part in front; of ``PER_REQUEST`` it alone counts.
        silent: replicas whose gauges are left out.
        past: families to begin with.

    Returns:
        By name; each sample by its name and labels.
    """
    families = {name: _Family(family.kind, family.help, dict(family.samples)) for name, family in (past or {}).items()}
    quiet = frozenset(silent)
    for replica, page in (*([(FRONT, front)] if front else []), *pages.items()):
        for metric in _metrics(page):
            if metric.name in PER_REQUEST and replica != FRONT:
                continue
            if metric.type in _SUMMED or replica not in quiet:
                _add(families, metric, replica)
    return families


def _metrics(page: str) -> Iterator[Metric]:
    """What a page says, by the names in it: the parser gives all counters ``_total``, and TorchServe's have none."""
    declared = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")}
    for metric in text_string_to_metric_families(page):
        if metric.type == "counter" and metric.name in declared:
            metric.samples = [one._replace(name=one.name.removesuffix("_total")) for one in metric.samples]
        yield metric


def _add(families: _Families, metric: Metric, replica: str) -> None:
    family = families.setdefault(metric.name, _Family(metric.type, metric.documentation))
    own = () if metric.type in _SUMMED or metric.name in ADDITIVE else (("replica", replica),)
    for sample in metric.samples:
        family.add(sample.name, (*sample.labels.items(), *own), sample.value)


def _text(families: _Families, wanted: frozenset[str]) -> str:
    """In Prometheus' text format 0.0.4. The client library would rename TorchServe's counters without ``_total``."""
    lines: list[str] = []
    for name, family in families.items():
        # a family of counters has its name without
        whole = f"{name}_total" if any(sample == f"{name}_total" for sample, _ in family.samples) else name
        everything = not wanted or bool(wanted & {name, whole})
        samples = [one for one in family.samples.items() if everything or one[0][0] in wanted]
        if wanted and not samples:
            continue
        kind = "untyped" if family.kind == "unknown" else family.kind
        about = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {whole} {about}", f"# TYPE {whole} {kind}"]
        for (sample, labels), value in samples:
            number: str = floatToGoString(value)  # type: ignore[no-untyped-call]
            lines.append(f"{sample}{_inside(labels)} {number}")
    return "".join(f"{line}\n" for line in lines)


def _inside(labels: _Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
