"""The sdist and the wheel: reproducible, fit for a package index, enough by themselves with the lowest versions too."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import boxwright

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = ("CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml", "src")
SMOKE = REPOSITORY / "tests" / "support" / "smoke.py"


def built(folder, epoch="1700000000"):
    """The two files, built from a copy of what they are made of: its path and its times are others each time."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in SOURCES:
        origin = REPOSITORY / name
        if origin.is_dir():
            shutil.copytree(
                origin, source / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
            )
        else:
            shutil.copyfile(origin, source / name)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder / "dist")]
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=300)
    return sorted((folder / "dist").iterdir())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(files):
    (path,) = (one for one in files if one.suffix == ".whl")
    return path


@pytest.fixture(scope="module")
def described(wheel):
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def clean():
    """The environment's variables, without this tree."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_the_same_sources_give_the_same_bytes(files, tmp_path):
    again = built(tmp_path)
    assert [one.name for one in again] == [one.name for one in files]
    assert [one.read_bytes() for one in again] == [one.read_bytes() for one in files]


def test_twine_has_nothing_to_say(files):
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout.lower()


def test_no_link_of_the_description_leads_nowhere(described):
    """On a package index there are no other files of the repository."""
    text = described.get_payload()
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert [one for one in links if not one.startswith(("https://", "http://", "#"))] == []
    assert len(text) > 0.6 * len((REPOSITORY / "README.md").read_text(encoding="utf-8"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    tree = REPOSITORY / "src"
    there = {
        one.relative_to(tree).as_posix() for one in tree.rglob("*") if one.is_file() and "__pycache__" not in one.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {one for one in archive.namelist() if ".dist-info/" not in one}
    assert names == {one for one in there if one.startswith("boxwright/")}
    assert "boxwright/py.typed" in names


def test_the_sdist_builds_the_same_wheel(files, wheel, tmp_path):
    (sdist,) = (one for one in files if one.name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "dist" / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_extras_are_those_of_the_project_and_are_installed_here(described):
    """Their full installs, gigabytes of them, are benchmarks/extras.py; the other tests use each of them here."""
    listed = [Requirement(one) for one in described.get_all("Requires-Dist")]
    extras = PROJECT["optional-dependencies"]
    assert set(described.get_all("Provides-Extra")) == set(extras)
    for extra, wanted in {"": PROJECT["dependencies"], **extras}.items():
        mine = {
            canonicalize_name(one.name) for one in listed if one.marker is None or one.marker.evaluate({"extra": extra})
        }
        assert {canonicalize_name(Requirement(one).name) for one in wanted} <= mine, extra
        for one in map(Requirement, wanted):
            if one.marker is None or one.marker.evaluate():
                version = metadata.version(one.name)
                assert one.specifier.contains(version, prereleases=True), f"{extra}: {one} is here in {version}"


def installed(folder, *packages):
    """An environment without pip and without this tree, with these packages from the index; its Python."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *map(str, packages)]
    subprocess.run(command, env=clean(), check=True, timeout=560)
    return python


def lowest(requirement):
    """The requirement at its lower bound, as pyproject.toml gives it."""
    (bound,) = (one.version for one in requirement.specifier if one.operator == ">=")
    return f"{requirement.name}=={bound}"


@pytest.fixture(scope="module")
def alone(wheel, described, tmp_path_factory):
    """The Python of an environment with the wheel and the lowest versions that it asks for, and nothing else.

    Those of the bare install: the training extra's lowest PyTorch takes 5 GB and is not tested.
    """
    needed = [Requirement(one) for one in described.get_all("Requires-Dist") if "extra" not in one]
    assert len(needed) == len(PROJECT["dependencies"])
    return installed(tmp_path_factory.mktemp("alone") / "environment", wheel, *map(lowest, needed))


def test_the_wheel_works_alone_with_the_lowest_versions(alone, mar, demo_data, tmp_path):
    predictor = boxwright.Predictor(mar)
    picture = max(sorted(demo_data.glob("*/*.jpg")), key=lambda path: len(predictor(path)))
    command = [str(alone), str(SMOKE), str(mar), str(picture)]
    done = subprocess.run(command, cwd=tmp_path, env=clean(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"boxwright {boxwright.__version__}: " in done.stdout


def test_mypy_sees_the_types_of_the_wheel(alone, tmp_path):
    """In a program of somebody who installed it: without py.typed all of it would be Any."""
    script = tmp_path / "script.py"
    script.write_text(
        "import boxwright\n"
        'found = boxwright.Predictor("my.mar")("picture.jpg")\n'
        "reveal_type(found.scores)\n"
        "wrong: int = found\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    command += ["--python-executable", str(alone), str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=clean(), capture_output=True, text=True, timeout=300)
    assert 'Revealed type is "numpy.ndarray' in done.stdout, done.stdout
    assert 'expression has type "Detections", variable has type "int"' in done.stdout
    assert "Found 1 error" in done.stdout
