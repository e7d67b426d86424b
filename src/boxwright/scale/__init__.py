"""The verbs on a cluster: glue between what they do and Ray, which does everything a cluster needs."""

from .cluster import connected

__all__ = ["connected"]
