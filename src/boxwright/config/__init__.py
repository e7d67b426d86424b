"""Settings: read, checked, frozen, saved."""

from .settings import (
    ALIASES,
    AUTO,
    CONFIG_FILE,
    HABITS,
    TrainConfig,
    data_of_run,
    is_setting,
    load_config,
    other_words,
    parse_assignment,
    save_config,
    settings_shown,
)

__all__ = [
    "ALIASES",
    "AUTO",
    "CONFIG_FILE",
    "HABITS",
    "TrainConfig",
    "data_of_run",
    "is_setting",
    "load_config",
    "other_words",
    "parse_assignment",
    "save_config",
    "settings_shown",
]
