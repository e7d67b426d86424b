"""How the code is built: files, lines, lengths of functions, modules with one importer, long parameter lists.

Run ``python benchmarks/house.py [PACKAGE_FOLDER] [--names]``; ``--names`` lists what is counted.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MANY_PARAMETERS = 7


def main() -> None:
    """Print a line per figure."""
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    package = Path(given[0]) if given else Path("src/boxwright")
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in trees}
    functions = [(path, node) for path, tree in trees.items() for node in ast.walk(tree) if is_function(node)]
    lengths = sorted(code_lines(path, node) for path, node in functions)
    single = sorted(name for name, importers in importers_of(package, trees).items() if len(importers) == 1)
    many = [(path, node) for path, node in functions if parameters(node) >= MANY_PARAMETERS]
    long = [f"{path.relative_to(package)}:{node.name}" for path, node in many]
    largest = max(lines, key=lines.__getitem__)
    print(f"files {len(trees)}, lines {sum(lines.values())}, largest {largest.relative_to(package)} {lines[largest]}")
    middle, high = statistics.median(lengths), percentile(lengths, 90)
    print(f"functions {len(lengths)}: median {middle:g} lines of code, p90 {high}, longest {lengths[-1]}")
    print(f"modules with a single importer: {len(single)}")
    print(f"functions of {MANY_PARAMETERS} parameters or more: {len(long)}")
    if "--names" in sys.argv:
        print(*single, *long, sep="\n")


def is_function(node: ast.AST) -> bool:
    """Whether it is ``def`` or ``async def``."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def parameters(node: ast.FunctionDef) -> int:
    """All but self and cls."""
    given = node.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if one]
    return len([name for name in names if name not in ("self", "cls")])


def code_lines(path: Path, node: ast.FunctionDef) -> int:
    """Lines of the body that hold code: no docstring, no blank line, no comment."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if not body:
        return 0
    text = path.read_text(encoding="utf-8").splitlines()[body[0].lineno - 1 : node.end_lineno]
    return sum(1 for line in text if line.strip() and not line.strip().startswith("#"))


def importers_of(package: Path, trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """By module, the modules of the package that import it; a package's own ``__init__`` does not count."""
    names = {path: name_of(path, package) for path in trees}
    modules = set(names.values())
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        for target in imports(tree, names[path], path.name == "__init__.py"):
            for one in (target, target.rpartition(".")[0]):
                if one in modules and one != names[path]:
                    if path.name != "__init__.py":
                        found[one].add(names[path])
                    break
    packages = {name_of(path, package) for path in trees if path.name == "__init__.py"}
    return {name: users for name, users in found.items() if name not in packages}


def name_of(path: Path, package: Path) -> str:
    """Dotted name of a module."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, own: str, is_package: bool) -> Iterator[str]:
    """Dotted names of what a module imports, each imported name as ``MODULE.NAME``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own.split(".")
            levels = node.level - (1 if is_package else 0)
            prefix = ".".join(base[: len(base) - levels]) if node.level else ""
            module = ".".join(part for part in (prefix, node.module) if part)
            yield from (f"{module}.{one.name}" for one in node.names)


def percentile(ordered: list[int], share: int) -> int:
    """The value below which ``share`` per cent lie."""
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]


if __name__ == "__main__":
    main()
