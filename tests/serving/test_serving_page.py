"""docs/serving.md: its commands are run, its options exist, its links lead somewhere."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from boxwright.cli.serve import serve
from support.hostile_archives import listed, members_of, packed
from support.server import served

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, mar, demo_data, monkeypatch):
    """The folder of somebody who reads the page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model-store").mkdir()
    shutil.copy(mar, tmp_path / "model-store" / "my-run.mar")
    for name, picture in zip(("picture", "one", "two"), sorted((demo_data / "test").glob("*.jpg")), strict=False):
        shutil.copy(picture, tmp_path / f"{name}.jpg")
    return tmp_path


def second_version(mar):
    """An archive of the same model, version 2.0."""
    members = members_of(mar)
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    manifest["model"]["modelVersion"] = "2.0"
    return packed(listed({**members, "MAR-INF/MANIFEST.json": json.dumps(manifest).encode()}))


def answers(server, block, folder):
    """Run a block as it stands there, in one shell; what each command printed, as JSON."""
    here = block.replace("http://127.0.0.1:8080", server.base).replace("/my-run", "/tiny")
    here = here.replace("http://127.0.0.1:8081", server.url_of("management"))
    here = here.replace("curl ", "curl --silent --show-error --fail-with-body --write-out '\\n----\\n' ")
    done = subprocess.run(["bash", "-ec", here], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (here, done.stdout, done.stderr)
    return [json.loads(one) for one in done.stdout.split("\n----\n")[:-1]]


def test_its_calls_are_answered(folder, mar):
    ask, manage, with_token, renew = blocks("console")
    options = ("--store", "model-store", "--management-port", "0", "--backend", "onnxruntime")
    with served(*options) as server:
        one, fewer, two = answers(server, ask, folder)
        assert all(set(box) >= {"score"} for box in one)
        assert len(fewer) <= len(one)
        assert len(two) == 2
        (folder / "model-store" / "my-run-2.mar").write_bytes(second_version(mar))
        _, both, scaled, _, _, left, described = answers(server, manage, folder)
        assert [len(version["workers"]) for version in both] == [1, 1]
        assert scaled["status"].startswith("Workers scaled to 2")
        assert [model["modelUrl"] for model in left["models"]] == ["my-run-2.mar"]
        assert "/models" in described["paths"]
        assert len(json.loads(server.ask("/models/tiny")[1])[0]["workers"]) == 2
    with served(*options, "--token-auth") as server:
        before = json.loads((folder / "key_file.json").read_text())
        assert list(before) == ["management", "inference", "API"]
        assert len(answers(server, with_token, folder)) == 1
        answers(server, renew, folder)
        after = json.loads((folder / "key_file.json").read_text())
        assert [name for name in before if before[name] != after[name]] == ["management", "inference"]
        assert len(answers(server, with_token, folder)) == 1


def test_its_python_makes_an_application(folder):
    (block,) = blocks("python")
    names = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert callable(names["app"])


def test_its_options_exist():
    known = {name for option in typer.main.get_command(_app()).params for name in option.opts}
    named = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert len(named) > 10
    assert named <= known


def _app():
    app = typer.Typer()
    app.command()(serve)
    return app


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 4
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
