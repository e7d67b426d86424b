"""YAML that somebody else wrote is plain: nothing in it stands for a copy of something else."""

from __future__ import annotations

__all__ = ["require_plain"]


def require_plain(text: str | bytes) -> None:
    """Raise for anchors, aliases and merges (``&``, ``*``, ``<<``); to be asked before the text is composed or loaded.

    By them a file of 300 bytes names values of megabytes, ten times as large a line: when they are written into a
    message, or merged.

    Raises:
        yaml.YAMLError: there is one, or it is not YAML; the message says where.
    """
    import yaml

    for event in yaml.parse(text, yaml.SafeLoader):
        if getattr(event, "anchor", None) is not None or _is_merge(event):
            what = "an anchor, an alias or a merge (&, *, <<) is not read; write out what it stands for"
            place = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
            raise yaml.YAMLError(f"{place}{what}")


def _is_merge(event: object) -> bool:
    import yaml

    if not isinstance(event, yaml.ScalarEvent):
        return False
    return event.tag == "tag:yaml.org,2002:merge" or (event.value == "<<" and event.style is None)
