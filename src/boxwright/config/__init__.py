"""Settings: read, checked, frozen, saved."""

from .settings import ALIASES, AUTO, CONFIG_FILE, TrainConfig, data_of_run, load_config, parse_assignment, save_config

__all__ = [
    "ALIASES",
    "AUTO",
    "CONFIG_FILE",
    "TrainConfig",
    "data_of_run",
    "load_config",
    "parse_assignment",
    "save_config",
]
