"""Measuring a model on data."""

from .evaluate import Evaluation, evaluate
from .results import SplitResults, ground_truth_of

__all__ = ["Evaluation", "SplitResults", "evaluate", "ground_truth_of"]
