"""Training: thin Lightning glue around data, models and metrics."""

from .verbs import RunResult, resume, train

__all__ = ["RunResult", "resume", "train"]
