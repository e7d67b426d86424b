"""``boxwright models``."""

from __future__ import annotations

from boxwright.host.console import make_console

from .tables import make_table

__all__ = ["models"]


def models() -> None:
    """List the architectures."""
    from boxwright.models import CATALOGUE

    table = make_table("name", "height x width", "weights", "for")
    for column in table.columns[:3]:
        column.no_wrap = True
    for name, row in CATALOGUE.items():
        offered = {"imagenet": row.backbone_weights, "coco": row.coco_weights}
        weights = ", ".join(["none", *(key for key, member in offered.items() if member)])
        table.add_row(name, f"{row.image_size[0]} x {row.image_size[1]}", weights, row.summary)
    console = make_console()
    console.print(table)
    console.print("Next: boxwright train --data FOLDER --model NAME; without --model one is chosen")
