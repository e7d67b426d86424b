"""``boxwright archive``, and ``--inspect``, which shows an archive in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boxwright
from boxwright.host.console import make_console, stages
from boxwright.host.files import require_writable
from boxwright.host.places import in_command, name_of, place_of, shown_place

from .options import (
    JsonOption,
    MovedDataOption,
    NameOption,
    StoreOption,
    ToleranceOption,
    require_file_names,
    require_not_read,
    typed,
    write_json,
)
from .tables import make_table, proof_line, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from boxwright import ArchiveContents, ModelSpec

__all__ = ["archive", "print_contents"]

_SHORT = 12  # digits of a hash
_ANEW = "Archive the run again to get one."


def archive(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder or its URL; with --inspect a .mar.")],
    name: NameOption = None,
    version: Annotated[str, typer.Option(help="Model version.")] = "1.0",
    store: StoreOption = Path("model-store"),
    precision: Annotated[
        list[str] | None, typer.Option(help="Export to bf16 or int8, too; may be repeated. fp32 is always there.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Without exports only PyTorch can run the archive.")
    ] = True,
    data: MovedDataOption = None,
    tolerance: ToleranceOption = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate",
            help="Serve it first, and move it into --store only if it answers validation pictures as in training.",
        ),
    ] = False,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights/--without-weights",
            help="Without them an archive is about half as large, but only its graph can run: docs/archive.md.",
        ),
    ] = True,
    card_notes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Markdown on intended use and limits, for the model card.")
    ] = None,
    inspect: Annotated[bool, typer.Option("--inspect", help="Verify a .mar and show what it holds.")] = False,
    card: Annotated[
        bool, typer.Option("--card", help="With --inspect: print the model card, and nothing else.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Pack a run into a .mar for 'boxwright serve' and for TorchServe, its exports proved equal."""
    from boxwright.release import ReleaseOptions, release

    require_file_names(json=json_file)
    console = make_console()
    if inspect:
        _require_to_inspect(context)
        require_not_read([run], json=json_file)
        contents = boxwright.inspect(run)
        if json_file:
            write_json(json_file, contents.to_document())
        if card:
            typer.echo(_card(contents), nl=False)
        else:
            print_contents(console, contents)
        return
    if card:
        raise boxwright.ConfigError("--card goes with --inspect.", "Leave it out: every archive gets a card.")
    if json_file:
        raise boxwright.ConfigError("--json goes with --inspect.", "Leave it out.")
    if name_of(place_of(run)).endswith(".mar"):
        shown = shown_place(run)
        remedy = f"What it holds: boxwright archive {in_command(shown)} --inspect"
        raise boxwright.ConfigError(f"{shown}: is an archive already.", remedy)
    if precision and not export:
        raise boxwright.ConfigError("--precision does not go with --no-export.", "Leave one of them out.")
    require_writable(store)
    precisions = ("fp32", *(precision or ())) if export else ()
    options = ReleaseOptions(name, version, store, precisions, data, tolerance, gate, weights, card_notes)
    with stages(console) as advance:
        released = release(run, options, advance)
    for line in released.report.lines if released.report else ():
        console.print(line)
    for variant, proof in released.spec.exports.items():
        console.print(proof_line(variant, proof))
    _note_on_end(console, run, released.spec)
    if not weights:
        console.print(
            "Without weights: PyTorch cannot run it, no training can start from it, and TorchServe needs onnxruntime."
        )
    console.print(f"Archive: {released.path}")
    console.print(f"Next: boxwright serve {in_command(released.path)}")


def _require_to_inspect(context: typer.Context) -> None:
    """Raise for options of an archive that is to be made, beside ``--inspect``, which makes none.

    Raises:
        ConfigError: one was typed.
    """
    others = [one for one in typed(context) if one.startswith("--") and one not in ("--inspect", "--card", "--json")]
    if others:
        raise boxwright.ConfigError(f"{', '.join(others)} cannot be used with --inspect.", "Leave it out.")


def _note_on_end(console: Console, run: str, spec: ModelSpec) -> None:
    """Say if the run is not what it was meant to become."""
    settings = spec.provenance.get("settings")
    epochs = settings.get("epochs") if isinstance(settings, Mapping) else None
    if spec.provenance.get("finished") is False:
        of = f" of {epochs}" if epochs else ""
        console.print(
            f"Note: the run ended early; this is its best epoch so far, epoch {spec.provenance['best_epoch'] + 1}{of}. "
            f"To finish it: boxwright train --resume {in_command(run)}"
        )
    if spec.exports and not any(proof["detections"] for proof in spec.exports.values()):
        console.print(
            "Warning: the model detects nothing on the validation pictures, so that nothing could be compared. "
            "Train it longer before you serve it."
        )
    elif spec.finds_hardly_anything:
        console.print("Note: on its validation split this model finds hardly anything; train it longer.")


def _card(contents: ArchiveContents) -> str:
    """The card, with the speed that was measured on this machine, without characters that control a terminal.

    Raises:
        ArchiveError: the archive has none.
    """
    from boxwright.archiving.card import with_speed
    from boxwright.host.machine import describe_machine
    from boxwright.runtime import open_bundle
    from boxwright.tuning.store import read_entry

    if contents.card is None:
        raise boxwright.ArchiveError(f"{contents.path}: has no model card; an older boxwright wrote it.", _ANEW)
    machine = describe_machine()
    stored = read_entry(contents.path, open_bundle(contents.path), machine)
    text = with_speed(contents.card, stored.runs, f"{machine.processor}, {machine.cores} cores")
    return "\n".join(map(_plain, text.split("\n")))


def print_contents(console: Console, contents: ArchiveContents) -> None:
    """Name, origin, classes, operating point, figures, proofs, versions and members."""
    from boxwright.reporting.words import origin, text_of

    spec = contents.spec
    console.print(f"{spec.name} {contents.version}: {contents.path}, {contents.size:,} bytes, verified")
    options = [("Options of the network", text_of(dict(spec.network)))] if spec.network else []
    console.print(_pairs([*origin(spec), *options]))
    console.print(f"\n{_operating_point(spec)}")
    console.print(_classes(spec))
    for split, figures in spec.measured.items():
        console.print(f"\nMeasured on {_plain(split)}, pictures: {_plain(figures.get('images', '-'))}")
        console.print(_figures(figures))
    console.print("\nExports proved equal to the trained model" if spec.exports else "\nNo exports; it runs in PyTorch")
    if spec.exports:
        console.print(_exports(spec.exports))
    for title in ("versions", "adopted_from"):
        recorded = spec.provenance.get(title)
        if isinstance(recorded, Mapping):
            console.print(f"\n{title.replace('_', ' ').capitalize()}")
            console.print(_pairs([(str(key), text_of(value)) for key, value in recorded.items()]))
    console.print(f"\n{_about_card(contents)}")
    console.print()
    console.print(_members(contents))


def _about_card(contents: ArchiveContents) -> str:
    if contents.card is None:
        return f"No model card: an older boxwright wrote the archive. {_ANEW}"
    return f"Model card: {len(contents.card.splitlines())} lines; to print it: --inspect --card"


def _operating_point(spec: ModelSpec) -> str:
    from boxwright.reporting.words import in_words

    point = spec.operating_point
    measured = f"{point.value_of}{show(point.value)} on {point.split}" if point.split else "never measured"
    interval = f"; 95 % interval {_ends(point.interval)}" if point.interval else ""
    value = f" ({_ends(point.value_interval)})" if point.value_interval else ""
    words = in_words(point, spec.class_names)
    return _plain(f"Operating point: {words}{interval}, for {point.objective}: {measured}{value}")


def _classes(spec: ModelSpec) -> Table:
    table = make_table("index", "id", "class", "reported from")
    thresholds = spec.operating_point.thresholds(spec.class_names)
    for index, (entry, threshold) in enumerate(zip(spec.classes, thresholds, strict=True)):
        table.add_row(str(index), str(entry.id), _plain(entry.name), f"{threshold:.3f}")
    return table


def _figures(figures: Mapping[str, Any]) -> Table:
    from boxwright.metrics.figures import HEADLINE

    table = make_table("", "", "95 % interval")
    recorded = figures.get("intervals")
    intervals = recorded if isinstance(recorded, Mapping) else {}
    for key, title in HEADLINE.items():
        if key in figures:
            table.add_row(title, _value(figures[key]), _ends(intervals.get(key)))
    return table


def _exports(exports: Mapping[str, Mapping[str, Any]]) -> Table:
    """One column per variant: there are few of them, with many facts each."""
    table = make_table("", *map(_plain, exports))
    for key in dict.fromkeys(key for proof in exports.values() for key in proof):
        table.add_row(_plain(key).replace("_", " "), *(_value(proof.get(key)) for proof in exports.values()))
    return table


def _members(contents: ArchiveContents) -> Table:
    table = make_table("member", "bytes", "SHA-256")
    table.columns[1].justify = "right"
    for member in contents.members:
        table.add_row(_plain(member.name), f"{member.size:,}", member.sha256[:_SHORT])
    table.add_row("in all", f"{sum(member.size for member in contents.members):,}", "")
    return table


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    table = make_table("", "")
    table.show_header = False
    for title, text in pairs:
        table.add_row(_plain(title), _plain(text))
    return table


def _value(value: Any) -> str:
    from boxwright.reporting.words import text_of

    if isinstance(value, float):
        return f"{value:.2e}" if 0 < abs(value) < 0.0005 else show(value)
    return _plain(text_of(value))


def _ends(interval: Any) -> str:
    if not isinstance(interval, (list, tuple)) or len(interval) != 2 or None in interval:
        return "-"
    return f"{_value(interval[0])} to {_value(interval[1])}"


def _plain(text: Any) -> str:
    """A text from an archive, without characters that control a terminal."""
    from boxwright.runtime.bundle import controls

    return "".join(repr(one)[1:-1] if one != "\t" and controls(one) else one for one in str(text))
