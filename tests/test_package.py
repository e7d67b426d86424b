import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import boxwright


def test_every_exported_name_exists():
    assert all(getattr(boxwright, name) is not None for name in boxwright.__all__)
    assert set(boxwright.__all__) <= set(dir(boxwright))


def test_all_public_classes_and_verbs_have_docstrings():
    assert all(getattr(boxwright, name).__doc__ for name in boxwright.__all__ if name != "__version__")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="trian"):
        _ = boxwright.trian


def test_without_the_train_extra_the_remedy_is_given():
    """torch and Lightning hidden, as in a bare install."""
    code = (
        "import sys; from importlib import util; found = util.find_spec;"
        "util.find_spec = lambda name, *a: None if name in ('torch', 'lightning') else found(name, *a);"
        "import boxwright\n"
        "try: boxwright.train(data='x')\n"
        "except boxwright.MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "torch, lightning" in done.stdout
    assert "boxwright[train]" in done.stdout


def test_a_wrong_data_folder_is_reported_before_pytorch_is_loaded():
    """Which takes five seconds."""
    script = (
        "import boxwright, sys\n"
        "try: boxwright.train(data='nowhere')\n"
        "except boxwright.DataError as error: print(error, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("nowhere: no such folder")
    assert done.stdout.endswith("False\n")


def test_names_for_type_checkers_are_those_that_are_loaded():
    """``import ... as`` and ``NAME = ...`` under ``TYPE_CHECKING``, against what the package gives at run time."""
    (block,) = (one for one in ast.parse(Path(boxwright.__file__).read_text()).body if isinstance(one, ast.If))
    imported = {}
    for one in block.body:
        if isinstance(one, ast.ImportFrom):
            home = importlib.import_module(f"boxwright.{one.module}")
            imported |= {alias.asname or alias.name: getattr(home, alias.name) for alias in one.names}
        else:
            imported[one.targets[0].id] = imported.pop(one.value.id)
    assert {name: getattr(boxwright, name) for name in boxwright.__all__ if name != "__version__"} == imported


def test_importing_the_package_loads_none_of_its_parts():
    code = "import sys, boxwright; dir(boxwright); print([one for one in sys.modules if one.startswith('boxwright.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_verb_export_stays_when_the_room_of_that_name_is_imported():
    importlib.import_module("boxwright.exporting.files")
    assert boxwright.export is importlib.import_module("boxwright.exporting.files").export
