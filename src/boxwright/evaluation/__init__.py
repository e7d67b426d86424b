"""Measuring a model on data."""

from .evaluate import Evaluation, evaluate, ground_truth_of

__all__ = ["Evaluation", "evaluate", "ground_truth_of"]
