"""The verbs: one module for each, which holds a function of its name and is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from .habits import Verb, VerbWithSettings, verb_instead

__all__ = ["VERBS", "Verbs"]

VERBS = (
    "check", "convert", "train", "tune", "evaluate", "compare", "threshold", "report", "export", "archive", "adopt",
    "predict", "serve", "bench", "models", "doctor", "demo",
)  # fmt: skip
"""In the order of a project."""

_WITH_SETTINGS = {"train", "tune"}


class Verbs(TyperGroup):
    """The group of all verbs; those of other tools are answered with ours."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All verbs, without loading them."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb; None if there is none of that name."""
        return self.commands.get(cmd_name) or self._load(cmd_name)

    def _load(self, name: str) -> Any:
        if name not in VERBS:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        kind = VerbWithSettings if name in _WITH_SETTINGS else Verb
        alone.command(name, cls=kind)(getattr(import_module(f".{name}", __package__), name))
        command = self.commands[name] = typer.main.get_command(alone)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a verb; raise with ours for another tool's."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from boxwright.runtime.errors import ConfigError

            raise ConfigError(f"There is no verb {args[0]!r}.", verb_instead(args, VERBS))
        return super().resolve_command(ctx, args)
