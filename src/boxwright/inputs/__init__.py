"""Where pictures come from besides data sets: files, folders, videos and the web."""

from .predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
