"""Validation shared out between processes, put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed

from boxwright.evaluation.results import detections_of, detections_to_columns
from boxwright.runtime import Detections

__all__ = ["gathered"]


def gathered(found: Mapping[int, Detections]) -> dict[int, Detections]:
    """The detections of all processes by picture index, rising, each picture once.

    A distributed sampler repeats pictures to give every process as many; their second set of detections
    replaces the first, which is the same.

    Args:
        found: this process's, by picture index.
    """
    parts = _of_all_processes(_packed(found))
    together = {index: one for part in parts for index, one in zip(part["indices"], detections_of(part), strict=True)}
    return {index: together[index] for index in sorted(together)}


def _packed(found: Mapping[int, Detections]) -> dict[str, Any]:
    return {"indices": list(found), **detections_to_columns(list(found.values()))}


def _of_all_processes(part: dict[str, Any]) -> list[dict[str, Any]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [part]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return parts
