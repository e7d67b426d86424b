"""Writes the reference from the code while the site is built: nothing of it is kept in the repository.

The command line is typer's, the settings are those of ``TrainConfig``, HTTP is our OpenAPI document, the finding codes
are ``CODES``, and the Python page names what mkdocstrings shall read.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

import boxwright
from boxwright.cli import app
from boxwright.cli.verbs import VERBS
from boxwright.config import TrainConfig
from boxwright.data.findings import CODES, LEVELS
from boxwright.serving.openapi import Port, describe
from boxwright.serving.settings import ServerSettings

_SETTINGS_TABLE = re.compile(r"^\| key \| default \| meaning \|\n(?:\|.*\n)+", re.MULTILINE)
_MEANINGS = re.compile(r"^        (\w+): (.*?)(?=^        \w+: |\Z)", re.DOTALL | re.MULTILINE)
_ABOUT_COMMANDS = """`boxwright VERB --help` prints the same. Exit codes: 0 done, 1 the answer is no, 2 it could not be
done, 130 interrupted."""
_ABOUT_HTTP = """What `boxwright serve` answers, from the OpenAPI document that each server gives of itself at
`/api-description`. As files: [predictions](openapi-predictions.json), [management](openapi-management.json). Beside
these calls of TorchServe, the server speaks the [Open Inference Protocol](../open-inference.md). How to use it all:
[Serving](../serving.md)."""
_ABOUT_FINDINGS = """What `boxwright check` can report, with what to do about it. An error keeps training from starting,
a warning should be looked at by a person, a note is good to know. *Repair* is what `boxwright check --fix OUT` does;
where it is missing, a repair would be a guess. How the check works, and how it judges:
[Checking a data set](../check.md)."""
_PORTS: tuple[Port, ...] = ("predictions", "management")


def pages() -> dict[str, str]:
    """Markdown and documents that are made from the code, by their places on the site."""
    return {
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/http.md": http_page(),
        "reference/findings.md": findings_page(),
        **{f"reference/openapi-{port}.json": json.dumps(_described(port), indent=1) for port in _PORTS},
    }


def with_settings(markdown: str) -> str:
    """The page of settings with its table from the model, with types and places to link to."""
    text, tables = _SETTINGS_TABLE.subn(lambda _: settings_table(), markdown)
    assert tables == 1, f"The page of settings should have one table of key, default and meaning; it has {tables}."
    return text


def commands_page() -> str:
    """Every verb with its arguments and options."""
    root: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        _ABOUT_COMMANDS,
    ]
    for name in VERBS:
        verb = root.get_command(None, name)
        context = verb.context_class(verb, info_name=f"boxwright {name}")
        usage = verb.get_usage(context).removeprefix("Usage: ")
        parts += [f"## {name}", verb.help, f"```text\n{usage}\n```"]
        rows = [_parameter(parameter, context) for parameter in verb.get_params(context) if not parameter.hidden]
        parts.append(_table(("argument or option", "default", "meaning"), rows))
    return _page(parts)


def _parameter(parameter: Any, context: Any) -> tuple[str, str, str]:
    shown = parameter.metavar or parameter.display_type_rich(context) or parameter.name.upper()
    if parameter.param_type_name == "argument":
        names = f"`{shown}`"
    else:
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        names += "" if parameter.is_flag else f" `{shown}`"
    unsaid = parameter.default is None or parameter.default is False or parameter.default in ((), [])
    usual = "required" if parameter.required else "" if unsaid else f"`{parameter.default}`"
    several = " May be repeated." if parameter.multiple and "repeat" not in parameter.help else ""
    return names, usual, f"{parameter.help or ''}{several}"


def settings_table() -> str:
    """All settings, by the order of the model."""
    described = (TrainConfig.__doc__ or "").split("Attributes:")[1]
    meanings = {name: " ".join(meaning.split()) for name, meaning in _MEANINGS.findall(described)}
    rows = []
    for name, field in TrainConfig.model_fields.items():
        usual = "required" if field.is_required() else "" if field.default is None else f"`{field.default}`"
        place = f'<a id="{name}"></a>`{name}`'
        meaning = re.sub(r"<", "&lt;", meanings[name].replace("``", "`"))
        rows.append((place, f"`{_type(field.annotation)}`", usual, meaning))
    return _table(("key", "type", "default", "meaning"), rows) + "\n"


def _type(annotation: Any) -> str:
    """A type as a person writes it in YAML."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"typing\.|pathlib\.|(?<=tuple)\[int, int\]", "", text)
    text = re.sub(r"Annotated\[([^,\]]+),[^\]]*\]", r"\1", text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace("'", "").replace(", ", " | "), text)
    text = re.sub(r" \| None|None \| ", "", text)
    words = {"Path": "path", "str": "text", "bool": "true or false", "int": "whole number", "float": "number"}
    text = re.sub(r"\b(Path|str|bool|int|float)\b", lambda found: words[found[1]], text)
    return text.replace("tuple", "[height, width]").replace(" | ", ", ")


def http_page() -> str:
    """The calls of TorchServe's protocol, by port, from the document that a server gives of itself."""
    parts = [
        "# HTTP",
        _ABOUT_HTTP,
    ]
    for port in _PORTS:
        document = _described(port)
        parts.append(f"## The port of {port}")
        for path, item in document["paths"].items():
            for method, operation in item.items():
                parts += _operation(document, path, method, operation)
    schemas = _described("management")["components"]["schemas"] | _described("predictions")["components"]["schemas"]
    parts.append("## Schemas")
    for name, schema in sorted(schemas.items()):
        parts += [f"### {name}", f"```json\n{json.dumps(schema, indent=2)}\n```"]
    return _page(parts)


def _described(port: Port) -> dict[str, Any]:
    return describe(port, ServerSettings())


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    yield operation["summary"]
    wanted = [_resolved(document, one) for one in operation.get("parameters", ())]
    rows = [
        (f"`{one['name']}`", one["in"], _schema(one.get("schema", {})), one.get("description", "")) for one in wanted
    ]
    if rows:
        yield _table(("parameter", "in", "type", "meaning"), rows)
    body = operation.get("requestBody")
    if body:
        kinds = [f"`{kind}` ({_schema(content.get('schema', {}))})" for kind, content in body["content"].items()]
        yield f"Body: {', '.join(kinds)}."
    answers = {status: _resolved(document, answer) for status, answer in operation["responses"].items()}
    yield _table(
        ("status", "answer", "type"),
        [
            (status, answer["description"], ", ".join(_schema(one.get("schema", {})) for one in _contents(answer)))
            for status, answer in answers.items()
        ],
    )


def _contents(answer: Mapping[str, Any]) -> list[Any]:
    return list(answer.get("content", {}).values())


def _resolved(document: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = document
    for key in part["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return _resolved(document, found)


def _schema(schema: Mapping[str, Any]) -> str:
    """A schema in a few words; the named ones are linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_schema(one) for one in schema[key])
    if schema.get("type") == "array":
        return f"list of {_schema(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("properties"):
        keys = (f"`{name}`: {_schema(below)}" for name, below in schema["properties"].items())
        return f"object with {', '.join(keys)}"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([schema.get("format", schema.get("type", "any")), *limits])


def findings_page() -> str:
    """Every finding code, with what to do."""
    parts = [
        "# Finding codes",
        _ABOUT_FINDINGS,
    ]
    for level in LEVELS:
        parts.append(f"## {level.capitalize()}s")
        for name, code in CODES.items():
            if code.level == level:
                repair = f" Repair: {code.repair}." if code.repair else ""
                parts += [f"### {name}", f"{_sentence(code.meaning)} {code.remedy}{repair}"]
    return _page(parts)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def python_page() -> str:
    """Where mkdocstrings finds every public name."""
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in boxwright.__all__:
        thing = getattr(boxwright, name)
        if inspect.isclass(thing):
            groups["Errors" if issubclass(thing, Exception) else "Classes"].append(name)
        elif callable(thing):
            groups["Functions"].append(name)
    parts = ["# Python", "Everything below is `boxwright.NAME`. Examples: [From Python](../python.md)."]
    for title, names in groups.items():
        parts.append(f"## {title}")
        for name in names:
            thing = getattr(boxwright, name)
            path = f"{thing.__module__}.{thing.__qualname__}"
            parts.append(f'<a id="{name}"></a>\n\n::: {path}\n    options:\n      heading: boxwright.{name}\n'
                         f"      toc_label: {name}")  # fmt: skip
    return _page(parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _page(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
