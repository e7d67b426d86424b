"""Settings: read, checked, frozen, saved."""

from .settings import ALIASES, NAME_PATTERN, TrainConfig, load_config, parse_assignment, save_config

__all__ = ["ALIASES", "NAME_PATTERN", "TrainConfig", "load_config", "parse_assignment", "save_config"]
