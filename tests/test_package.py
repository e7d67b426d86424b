import subprocess
import sys

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


def test_a_wrong_data_folder_is_told_before_pytorch_is_loaded():
    """Which takes five seconds."""
    script = (
        "import boxwright, sys\n"
        "try: boxwright.train(data='nowhere')\n"
        "except boxwright.DataError as error: print(error, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("nowhere: no such folder")
    assert done.stdout.endswith("False\n")
