"""Answers to the words of other tools: verbs, options and ``key=value``."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["Verb", "VerbWithSettings", "verb_instead"]

_VERBS = {
    "benchmark": "bench",
    "deploy": "serve",
    "detect": "predict",
    "eval": "evaluate",
    "fit": "train",
    "help": "--help",
    "hpo": "tune",
    "infer": "predict",
    "info": "archive MAR --inspect",
    "inspect": "archive MAR --inspect",
    "lint": "check",
    "list": "models",
    "pack": "archive",
    "package": "archive",
    "search": "tune",
    "sweep": "tune",
    "test": "evaluate",
    "val": "evaluate",
    "validate": "evaluate",
    "version": "--version",
}
"""What to type instead of another tool's verb."""

_TASK = "detect"
"""A verb for some, a task before the verb for others."""

_TOOL = "yolo"
"""Another tool's name, left over before its verb or task."""

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""How the name of a picture ends."""

_OPTIONS = {
    "batch": "Pictures of a training step: boxwright train --set batch_size=N; of one call: boxwright bench --batch N.",
    "conf": "It is --threshold here.",
    "epochs": "boxwright train takes it.",
    "format": "It is --to here.",
    "imgsz": "The canvas is the model's, as it was trained: boxwright train --set image_size=N.",
    "iou": "Boxes that overlap are removed as in training; the figures are of COCO's IoU thresholds.",
    "foreground": "A server of ours always is.",
    "model": "Give the run or archive without an option.",
    "model-store": "It is --store here.",
    "models": "Give archives without an option: boxwright serve MODEL.mar; their names are in the URLs.",
    "ncs": "Nothing is kept of one start for the next: leave it out.",
    "name": "--out names what is written.",
    "out": "--store is the folder of what is written, --name its name.",
    "output": "It is --out here.",
    "project": "It is --out here.",
    "save": "It is --out FOLDER here.",
    "save-dir": "It is --out here.",
    "save-json": "It is --json FILE here.",
    "source": "Give pictures, folders and videos without an option, after the model.",
    "start": "A server starts without it: boxwright serve MODEL.mar",
    "stop": "End a server with Ctrl-C, or with SIGTERM.",
    "task": "boxwright does one: detection.",
    "ts-config": "It is --config here.",
    "threshold": "predict and evaluate take it, and a request to a server, as ?threshold=0.3.",
    "weights": "Give the run or archive without an option.",
}
"""What to do instead, by another tool's option; only asked where a verb has no such option, but the one it names."""


_FAULTS = {
    "valid integer": "a whole number",
    "valid number": "a number",
    "less than or equal to (.+)": r"\1 or less",
    "greater than or equal to (.+)": r"\1 or more",
}
"""What an option takes, by the parser's words for what does not fit."""


class Verb(TyperCommand):
    """A verb that answers options of other tools."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; an unknown option gets an answer of ours."""
        for option in self._unknown(args):
            from boxwright.runtime.errors import ConfigError

            raise ConfigError(f"boxwright {self.name} has no option {option}.", self._answer(option))
        self._require_no_assignment(args)
        self._require_once(args)
        given = dict(self._options(args))
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            option = next(iter(getattr(error.param, "opts", ())), "")
            expected = _expected(error.message)
            if option not in given or expected is None:
                raise
            from boxwright.runtime.errors import ConfigError

            raise ConfigError(f"{option} {given[option]} does not fit.", f"Give {expected}.") from None

    def _require_no_assignment(self, args: Sequence[str]) -> None:
        """Raise for an option that is written as other tools do, ``source=picture.jpg``."""
        known = self._takes_value()
        for word in self._words(args):
            key, equals, _ = word.partition("=")
            meant = f"--{key.replace('_', '-')}" in known or key in _OPTIONS
            if equals and key.isidentifier() and meant and not Path(word).exists():
                from boxwright.runtime.errors import ConfigError

                raise ConfigError(f"boxwright {self.name} does not take {key}=….", self._answer(f"--{key}"))

    def _words(self, args: Sequence[str]) -> Iterator[str]:
        """What is neither an option nor its value, up to ``--``."""
        known = self._takes_value()
        words = iter(args)
        for word in words:
            if word == "--":
                return
            if not word.startswith("-"):
                yield word
            elif known.get(word):
                next(words, None)

    def _unknown(self, args: Sequence[str]) -> Iterator[str]:
        """Long options that the verb does not have."""
        known = self._takes_value()
        return (option for option, _ in self._options(args) if option not in known)

    def _require_once(self, args: Sequence[str]) -> None:
        """Raise if an option is given two values, of which only the last would count."""
        several = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        given: dict[str, str | None] = {}
        for option, value in self._options(args):
            if option not in several and given.setdefault(option, value) != value:
                from boxwright.runtime.errors import ConfigError

                raise ConfigError(f"{option} is given twice, as {given[option]} and {value}.", "Keep one.")

    def _options(self, args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """Long options with their values, if they take one; what follows ``--`` and values of options are none."""
        known = self._takes_value()
        words = iter(args)
        for word in words:
            if word == "--":
                return
            if word.startswith("--"):
                option, equals, value = word.partition("=")
                takes = known.get(option, False) and not equals
                given = next(words, None) if takes else value if equals else None
                if takes and given in known:  # it would be the name of a file, say
                    from boxwright.runtime.errors import ConfigError

                    raise ConfigError(f"{option} needs a value, and {given} follows it.", f"As in {option}=VALUE.")
                yield option, given

    def _takes_value(self) -> dict[str, bool]:
        """Whether an option is followed by a value, by option."""
        options = {"--help": False}
        for one in self.params:
            if getattr(one, "param_type_name", "") == "option":
                flag = bool(getattr(one, "is_flag", False) or getattr(one, "count", False))
                options |= dict.fromkeys((*one.opts, *one.secondary_opts), not flag)
        return options

    def _answer(self, option: str) -> str:
        known = list(self._known())
        joined = {_joined(one): one for one in known}
        name = option.removeprefix("--").replace("_", "-")
        if _joined(option) in joined:
            return f"Did you mean {joined[_joined(option)]}?"
        if name in _OPTIONS and _is_there(_OPTIONS[name], known):
            return _OPTIONS[name]
        names = {one.removeprefix("--"): one for one in known}  # dashes would make all of them alike
        close = difflib.get_close_matches(name, names, n=1)
        see = f"All options: boxwright {self.name} --help"
        return f"Did you mean {names[close[0]]}? {see}" if close else see

    def _known(self) -> Iterator[str]:
        """All long options."""
        return (one for one in self._takes_value() if one.startswith("--"))


class VerbWithSettings(Verb):
    """A verb with ``--set``; any setting is also understood as an option of its own, and as ``key=value``."""

    def _known(self) -> Iterator[str]:
        """All long options, settings among them."""
        from boxwright.config import TrainConfig

        yield from super()._known()
        yield from (f"--{name.replace('_', '-')}" for name in TrainConfig.model_fields)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``--image-size 320`` and ``image_size=320`` as ``--set image_size=320``."""
        return super().parse_args(ctx, list(self._with_settings(args)))

    def _with_settings(self, args: Sequence[str]) -> Iterator[str]:
        from boxwright.config import is_setting, other_words, parse_assignment
        from boxwright.runtime.errors import ConfigError

        known = self._takes_value()
        words = iter(args)
        for word in words:
            if word == "--":
                yield from (word, *words)
                return
            option, equals, value = word.partition("=")
            key = option.removeprefix("--").replace("-", "_")
            if option in known:
                yield word
                if known[option] and not equals:
                    given = next(words, None)
                    if option == "--set" and given is not None:
                        parse_assignment(given)  # raises here: "--set epochs 3" would be one word too many later
                    yield from () if given is None else (given,)
            elif equals and option.isidentifier() and not Path(word).exists():
                yield from self._setting(option, value)
            elif option.startswith("--") and is_setting(key):
                given = value if equals else next(words, "")
                if (not given or given.startswith("--")) and (answer := other_words(key)):
                    raise ConfigError(f"boxwright {self.name} has no option {option}.", answer)
                if not given or given.startswith("--"):
                    raise ConfigError(f"{option} needs a value.", f"As in {option}=VALUE.")
                yield from self._setting(key, given)
            else:
                yield word

    def _setting(self, key: str, value: str) -> tuple[str, ...]:
        """The verb's own option, if it has one; else ``--set``."""
        from boxwright.config import HABITS

        own = f"--{HABITS.get(key, key)}"
        return (own, value) if own in self._takes_value() else ("--set", f"{key}={value}")


def _expected(fault: str) -> str | None:
    """What an option takes, in our words; None if the parser's are about something else."""
    for pattern, words in _FAULTS.items():
        if found := re.search(pattern, fault):
            return found.expand(words)
    return None


def _joined(option: str) -> str:
    return option.replace("-", "").replace("_", "")


def _is_there(answer: str, known: Sequence[str]) -> bool:
    """Whether the option that an answer names is one of the verb's."""
    named = re.match(r"It is (--[a-z-]+)", answer)
    return named is None or named[1] in known


def _as_ours(verb: str, words: Sequence[str]) -> Iterator[str]:
    """``model=a.mar --source b.jpg`` as a verb of ours takes them: the model first, what else it needs behind it."""
    given = dict(_keys(words)) if verb not in _WITH_KEYS else {}
    if not given.keys() & _MOVED:
        yield from words
        return
    yield from (given[key] for key in ("model", "weights", "source") if given.get(key))
    rest = iter(words)
    for word in rest:
        key, equals, value = word.removeprefix("--").partition("=")
        if key not in given or not (equals or word.startswith("--")):
            yield word
            continue
        value = value if equals else next(rest, "")
        if key in _RENAMED:
            yield from (_RENAMED[key], value)


_WITH_KEYS = {"train", "tune"}
"""Verbs that take ``key=value`` and any setting as an option."""
_MOVED = {"model", "weights", "source"}
_RENAMED = {"data": "--data", "conf": "--threshold"}


def _keys(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What other tools name: ``model=a.mar``, ``--model=a.mar`` and ``--model a.mar``."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        key, equals, value = word.removeprefix("--").partition("=")
        if key in {*_MOVED, *_RENAMED} and (equals or word.startswith("--")):
            yield key, value if equals else following


def verb_instead(args: Sequence[str], verbs: Sequence[str]) -> str:
    """What to type instead of a verb that there is not.

    Args:
        args: the command line from the verb on.
        verbs: ours.
    """
    verb, *words = args
    a_task = verb == _TASK and words and words[0] in {*verbs, *_VERBS} - {_TASK}
    if a_task or (verb == _TOOL and words):  # as in "yolo detect train"
        verb, *words = words
    if verb in verbs:
        return f"Type: boxwright {shlex.join([verb, *_as_ours(verb, words)])}"
    if verb in (_TOOL, _TASK) and list(args) != [verb, *words]:
        return verb_instead([verb, *words], verbs)
    if verb in _VERBS:
        return f"Type: boxwright {_instead(verb, words)}"
    close = difflib.get_close_matches(verb, verbs, n=1)
    return f"Did you mean {close[0]!r}? All: boxwright --help" if close else "All of them: boxwright --help"


def _instead(verb: str, words: Sequence[str]) -> str:
    """Our verb for another tool's, with what was typed behind it where it fits."""
    ours = _VERBS[verb].split()
    rest = list(_as_ours(ours[0], words))
    if verb == "test":
        rest = [*(rest or ["RUN"]), "--split", "test"]
    if ours == ["predict"] and rest and rest[0].lower().endswith(_PICTURES):
        rest.insert(0, "RUN_OR_MAR")
    if len(ours) == 1:
        return " ".join([*ours, shlex.join(rest)]).rstrip()
    return " ".join(shlex.quote(rest[0]) if word == "MAR" and rest else word for word in ours)
