"""``MODEL_CARD.md``: what a model is, in plain Markdown with Hugging Face's YAML head; written from the specification.

Everything in it is known or said to be unknown. Texts from data (class and file names, licences) are escaped, so that
they are shown as they are written and nothing in them is Markdown or HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any, TypeGuard

import yaml

from boxwright.metrics.figures import HEADLINE
from boxwright.runtime import ModelSpec
from boxwright.runtime.bundle import controls

__all__ = ["TO_BE_FILLED_IN", "CardFacts", "Failure", "model_card", "with_speed"]

TO_BE_FILLED_IN = "**To be filled in by you:**"
"""What stands before each question that only the model's makers can answer."""

_ASKED = (
    f"{TO_BE_FILLED_IN} what the model is for, for what it must not be used, who made it and whom to ask. Write it to "
    "a file, and archive with `--card-notes FILE`."
)
_ABOUT_FIGURES = """
mAP is COCO's: the mean over IoU 0.5 to 0.95 and classes. F2 weighs recall more than precision; F2, precision and recall
are at the operating point. A 95 % interval says where a figure would lie on very many pictures like these. Operating
point and best epoch were chosen on the validation pictures, so figures measured on them are a little too good; a `test`
split that nothing was chosen on is free of that.
"""
_SIZES = {
    "small": "small, up to 32 x 32 pixels",
    "medium": "medium, up to 96 x 96 pixels",
    "large": "large",
}
_LICENCES = {"BSD-3-Clause": "bsd-3-clause", "Apache-2.0": "apache-2.0", "MIT": "mit"}
"""Hugging Face's identifiers of the licences that the catalogue names."""
_SPEED = "## Speed\n"
_NO_SPEED = (
    "How fast a model runs depends on the machine, so an archive does not say. `boxwright bench` measures it here, and "
    "`boxwright archive MAR --inspect --card` then shows it in this place."
)
_SLUG = re.compile(r"[\w.-]+", re.ASCII)
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_NONE = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Failure:
    """A picture with mistakes at the operating point.

    Attributes:
        picture: its file name in the split.
        kind: the mistake it is among the worst in.
        boxes: annotated ones, without crowds.
        missed: of these, without a reported detection.
        wrong_class: detections that lie on a box of another class.
        false_alarms: detections on no box.
    """

    picture: str
    kind: str
    boxes: int
    missed: int
    wrong_class: int
    false_alarms: int


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the specification.

    Attributes:
        failures: the worst pictures of validation.
        sizes: (low, high), 95 %, of ``map_small``, ``map_medium`` and ``map_large`` on ``split``.
        split: the split that both are of.
        notes: Markdown by the model's makers on intended use and limits; None if there is none.
        digests: SHA-256 (hex) of the weights and exports, by file name.
    """

    failures: Sequence[Failure] = ()
    sizes: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    split: str | None = None
    notes: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def model_card(spec: ModelSpec, version: str | None = None, facts: CardFacts = CardFacts()) -> str:
    """The text of a card; the same model gives the same text.

    Args:
        spec: of the model.
        version: of its archive; None for a run that is no archive yet.
        facts: what else is known.
    """
    sections = (
        _title(spec, version),
        _use(spec, facts.notes),
        _data(spec),
        _figures(spec, facts),
        _point(spec),
        _failures(facts),
        _SPEED + f"\n{_NO_SPEED}\n",
        _provenance(spec, facts.digests),
    )
    return f"---\n{_head(spec)}---\n\n" + "\n".join(sections)


def with_speed(card: str, runs: Iterable[Mapping[str, Any]], machine: str) -> str:
    """A card with what was measured on a machine in its section on speed.

    Args:
        card: as ``model_card`` wrote it; one without that section is returned as it is.
        runs: as ``boxwright bench --json`` writes them; without any the card stays as it is.
        machine: which one, in words.
    """
    rows = [
        (
            f"{run['backend']}-{run['precision']}",
            str(run["batch"]),
            f"{run['threads']} x {run['sessions']}",
            f"{run['latency_ms_p50']:.1f}",
            f"{run['images_per_s']:.1f}",
        )
        for run in runs
    ]
    before, section, after = card.rpartition(f"\n{_SPEED}")  # the last one: the maker's notes may have their own
    if not rows or not section:
        return card
    _, heading, rest = after.partition("\n## ")
    heads = ("runs as", "pictures per call", "threads x sessions", "median latency, ms", "pictures per second")
    said = f"Measured by `boxwright bench` on {_plain(machine)}, for the network alone.\n\n{_table(heads, rows)}"
    return f"{before}\n{_SPEED}\n{said}{heading}{rest}"


def _head(spec: ModelSpec) -> str:
    """Hugging Face's metadata, YAML."""
    name = _description(spec).get("name")
    slug = name if isinstance(name, str) and _SLUG.fullmatch(name) else None
    head: dict[str, Any] = {
        "license": _licence(spec),
        "library_name": "boxwright",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "boxwright", spec.architecture],
    }
    if slug:
        head["datasets"] = [slug]
    head["metrics"] = ["map", "f2"]
    results = list(_results(spec, slug))
    if results:
        head["model-index"] = [{"name": spec.name, "results": results}]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)


def _results(spec: ModelSpec, slug: str | None) -> Iterator[dict[str, Any]]:
    for split, figures in spec.measured.items():
        metrics = [
            {"type": key, "value": round(figures[key], 4), "name": title}
            for key, title in HEADLINE.items()
            if _number(figures.get(key))
        ]
        if metrics:
            yield {
                "task": {"type": "object-detection", "name": "Object Detection"},
                "dataset": {"type": slug or "coco", "name": slug or "a COCO folder", "split": str(split)},
                "metrics": metrics,
            }


def _licence(spec: ModelSpec) -> str:
    """Hugging Face's identifier for the licence of the starting weights; ``unknown`` where the catalogue names none."""
    recorded = str(spec.provenance.get("weights_licence", ""))
    before_the_data = recorded.partition(";")[0]
    return next((one for name, one in _LICENCES.items() if name in before_the_data), "unknown")


def _title(spec: ModelSpec, version: str | None) -> str:
    named = f"{_plain(spec.name)}, version {_plain(version)}" if version else _plain(spec.name)
    classes = "1 class" if len(spec.classes) == 1 else f"{len(spec.classes)} classes"
    return (
        f"# {named}\n\nAn object detector, {_plain(spec.architecture)}, for {classes}. Trained, measured and packed "
        "with boxwright.\n"
    )


def _use(spec: ModelSpec, notes: str | None) -> str:
    text = "".join(f"- {line}\n" for line in _limits(spec))
    return f"## Intended use and limits\n\n{text}\n{notes.strip() if notes else _ASKED}\n"


def _limits(spec: ModelSpec) -> Iterator[str]:
    """What is known of them, in sentences."""
    names, canvas = ", ".join(map(_plain, spec.class_names)), f"{spec.input.height} x {spec.input.width} pixels"
    yield f"It finds boxes of: {names}. An object of another kind is missed, or taken for one of these."
    yield f"It sees each picture on a canvas of {canvas} (height x width), {_plain(spec.input.resize)}."
    if spec.input.tile:
        yield f"Larger pictures are seen in overlapping windows of {spec.input.tile} pixels."
    smallest = _description(spec).get("smallest_box")
    if isinstance(smallest, Sequence) and len(smallest) == 2 and all(map(_number, smallest)):
        size = f"{smallest[0]:g} x {smallest[1]:g} pixels of its picture"
        yield f"The smallest training box is {size}; nothing is known of smaller ones."
    yield "Its figures hold for pictures like those of the data; for other cameras or places nothing was measured."


def _data(spec: ModelSpec) -> str:
    known, counts = _description(spec), spec.provenance.get("data")
    facts = [
        ("Name", _text(known.get("name"))),
        ("Licence", _listed(known.get("licences"), "the annotation files name none")),
        ("Source", _listed(known.get("sources"), "the annotation files name none")),
        ("Fingerprint", _code(spec.provenance.get("data_fingerprint"))),
        ("Fingerprint of validation", _code(spec.provenance.get("validation_fingerprint"))),
    ]
    if not known:
        facts = [one for one in facts if one[0].startswith("Fingerprint")]
    text = "## Data\n\n" + "".join(f"- {title}: {value}\n" for title, value in facts)
    if isinstance(counts, Mapping) and counts:
        rows = [(_plain(split), *_counts(one)) for split, one in counts.items()]
        text += "\n" + _table(("split", "pictures", "boxes"), rows)
    boxes = known.get("boxes")
    if isinstance(boxes, Mapping) and boxes and all(isinstance(one, Mapping) for one in boxes.values()):
        by_class = [(_plain(name), *(_text(one.get(name)) for one in boxes.values())) for name in spec.class_names]
        text += "\n" + _table(("boxes of class", *map(_plain, boxes)), by_class)
    return text if known else text + "\nIts name and licence were not recorded.\n"


def _counts(counts: Any) -> tuple[str, str]:
    """Pictures and boxes of a split."""
    known = counts if isinstance(counts, Mapping) else {}
    return _text(known.get("pictures")), _text(known.get("boxes"))


def _figures(spec: ModelSpec, facts: CardFacts) -> str:
    text = "## Figures\n"
    if not spec.measured:
        return text + "\nIt was never measured.\n"
    for split, figures in spec.measured.items():
        ends = figures.get("intervals")
        intervals = ends if isinstance(ends, Mapping) else {}
        text += f"\n### Measured on {_plain(split)}, {_text(figures.get('images'))} pictures\n\n"
        rows = [(title, _figure(figures.get(key)), _between(intervals.get(key))) for key, title in HEADLINE.items()]
        text += _table(("figure", "value", "95 % interval"), rows)
        text += "\n" + _table(("mAP by size of box", "value", "95 % interval"), _size_rows(split, figures, facts))
        by_class = list(_class_rows(spec, figures, intervals.get("per_class")))
        if by_class:
            heads = ("class", "boxes", "mAP", "95 % interval", "F2", "95 % interval", "precision", "recall")
            text += "\n" + _table(heads, by_class)
    return text + _ABOUT_FIGURES


def _size_rows(split: str, figures: Mapping[str, Any], facts: CardFacts) -> Iterator[tuple[str, ...]]:
    sizes = facts.sizes if split == facts.split else {}
    for size, title in _SIZES.items():
        yield title, _figure(figures.get(f"map_{size}")), _between(sizes.get(f"map_{size}"))


def _class_rows(spec: ModelSpec, figures: Mapping[str, Any], intervals: Any) -> Iterator[tuple[str, ...]]:
    per_class = figures.get("per_class")
    if not isinstance(per_class, Mapping):
        return
    ends = intervals if isinstance(intervals, Mapping) else {}
    for name in spec.class_names:
        one, own = per_class.get(name), ends.get(name)
        if isinstance(one, Mapping):
            own = own if isinstance(own, Mapping) else {}
            yield (
                _plain(name),
                _text(one.get("boxes")),
                *(_figure(one.get("map")), _between(own.get("map"))),
                *(_figure(one.get("f2")), _between(own.get("f2"))),
                *(_figure(one.get("precision")), _figure(one.get("recall"))),
            )


def _point(spec: ModelSpec) -> str:
    point = spec.operating_point
    text = "## Operating point\n\n"
    if point.value is None or point.split is None or not point.is_chosen:
        return text + f"Detections are reported from score {point.threshold:.3f}. It was not chosen on data.\n"
    if point.by_class:
        scores = zip(spec.class_names, point.thresholds(spec.class_names), strict=True)
        text += "Detections are reported from a score of their class: "
        text += ", ".join(f"{_plain(name)} {score:.3f}" for name, score in scores) + ". They were"
    else:
        text += f"Detections are reported from score {point.threshold:.3f}{_in_brackets(point.interval)}. It was"
    text += (
        f" chosen on {_plain(point.split)} for the objective {_plain(point.objective)}, "
        f"{f'with a {point.value_of}there of ' if point.value_of else 'whose value there is '}"
        f"{point.value:.3f}{_in_brackets(point.value_interval)}.\n"
    )
    figures = spec.measured.get(point.split, {})
    recall, precision = figures.get("recall"), figures.get("precision")
    if _number(recall) and _number(precision):
        (boxes, found), (reported, right) = _in_numbers(recall), _in_numbers(precision)
        text += (
            f"\nWhat it costs: of {boxes:,} annotated boxes {found:,} are found and {boxes - found:,} missed; of "
            f"{reported:,} reported boxes {right:,} are right and {reported - right:,} are false, at IoU 0.5. A lower "
            "score finds and reports more, also of what is false; a higher one the other way round.\n"
        )
    return text


def _in_numbers(share: float) -> tuple[int, int]:
    """So many, and how many of them: 100, or as many more as it takes for "none" and "all" to be true."""
    sizes = (100, 1000, 10_000, 100_000)
    whole = next((size for size in sizes if share in (0, 1) or 0 < round(size * share) < size), sizes[-1])
    return whole, round(whole * share)


def _failures(facts: CardFacts) -> str:
    text = "## Where it fails\n\n"
    if not facts.failures:
        if facts.split is not None:
            return text + f"No picture of {_plain(facts.split)} has a mistake at the operating point.\n"
        return text + "No pictures were recorded here. The report of a run shows its worst ones.\n"
    rows = [
        (_plain(one.picture), one.kind, str(one.boxes), str(one.missed), str(one.wrong_class), str(one.false_alarms))
        for one in facts.failures
    ]
    heads = ("picture", "among the worst in", "boxes", "missed", "wrong class", "false alarms")
    return (
        f"{text}The worst pictures of {_plain(facts.split)} at the operating point, IoU 0.5. `report.html` in the "
        f"run folder shows them with their boxes; neither it nor a picture is in an archive.\n\n{_table(heads, rows)}"
    )


def _provenance(spec: ModelSpec, digests: Mapping[str, str]) -> str:
    recorded, best = spec.provenance, spec.provenance.get("best_epoch")
    settings = recorded.get("settings")
    seed = settings.get("seed") if isinstance(settings, Mapping) else None
    facts = [
        ("Trained", _text(recorded.get("created"))),
        *_start(recorded, _licence(spec)),
        ("Best epoch", str(best + 1) if isinstance(best, int) else _NONE),
        ("Seed", _text(seed)),
        ("Class contract", _code(spec.contract)),
    ]
    text = "## Provenance\n\n" + "".join(f"- {title}: {value}\n" for title, value in facts)
    if digests:
        text += "\n" + _table(
            ("file", "SHA-256"), [(_plain(name), f"`{one}`") for name, one in sorted(digests.items())]
        )
    for title in ("versions", "adopted_from", "settings"):
        told = recorded.get(title)
        if isinstance(told, Mapping) and told:
            text += f"\n### {title.replace('_', ' ').capitalize()}\n\n```json\n{json.dumps(told, indent=2)}\n```\n"
    return text


def _start(recorded: Mapping[str, Any], licence_above: str) -> Iterator[tuple[str, str]]:
    """The weights it started from, and under which terms."""
    weights, licence = recorded.get("weights"), _text(recorded.get("weights_licence"))
    if weights == "none":
        yield "Weights it started from", "none, it was trained from scratch"
        yield (
            "Licence",
            "not stated: `license` above is for you to set; the terms of the data are in the section on data",
        )
        return
    # of a file the name: folders of the machine that trained are nobody's business
    yield "Weights it started from", _text(PureWindowsPath(weights).name if isinstance(weights, str) else None)
    above = "is for you to set" if licence_above == "unknown" else "repeats it"
    yield "Licence of these", f"{licence}. `license` above {above}; the terms of your data come on top"


def _description(spec: ModelSpec) -> Mapping[str, Any]:
    known = spec.provenance.get("data_description")
    return known if isinstance(known, Mapping) else {}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: object) -> str:
    """A text as Markdown that shows just this text, on one line."""
    printable = "".join(repr(one)[1:-1] if controls(one) else one for one in str(text))
    return _SPECIAL.sub(r"\\\1", printable)


def _text(value: Any) -> str:
    return _NONE if value is None or value == "" else _plain(value)


def _code(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) and value.isalnum() else _text(value)


def _listed(values: Any, nothing: str) -> str:
    texts = [_plain(one) for one in values] if isinstance(values, Sequence) and not isinstance(values, str) else []
    return "; ".join(texts) or nothing


def _figure(value: Any) -> str:
    return f"{value:.3f}" if _number(value) else _NONE


def _between(ends: Any) -> str:
    sound = isinstance(ends, Sequence) and len(ends) == 2 and all(map(_number, ends))
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if sound else _NONE


def _in_brackets(ends: Any) -> str:
    return f" (95 % interval {_between(ends)})" if ends else ""


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
