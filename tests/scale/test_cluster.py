"""What is said before a cluster is started."""

import socket
import subprocess
import sys

import pytest

import boxwright
from boxwright.runtime import ArchiveError, ConfigError, MissingDependency, ServingError
from boxwright.scale import serving
from boxwright.scale.cluster import require_cluster, require_ray
from boxwright.scale.prediction import predict_on
from boxwright.serving.settings import ServerSettings


@pytest.mark.parametrize("on", ["ray", "ray://head:10001", "10.0.0.7:6379", "[::1]:6379", "auto"])
def test_what_may_stand_for_a_cluster(on):
    require_ray(on)


@pytest.mark.parametrize("on", ["", "spark", "ray://", "ray://head", "http://head:8265", "local"])
def test_anything_else_is_refused_with_what_to_give(on):
    with pytest.raises(ConfigError, match=r"--on .* is not a cluster") as refused:
        require_ray(on)
    assert "ray://HOST:PORT" in refused.value.remedy


@pytest.mark.parametrize("on", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_where_nothing_listens_is_said_before_anything_is_done(on):
    with pytest.raises(ConfigError, match=rf"No Ray cluster answers at {on}: Connection refused\.") as refused:
        require_cluster(on)
    assert refused.value.remedy.startswith("Correct the address, or start one")


def test_what_is_wrong_with_archives_and_ports_is_said_before_a_cluster_is_started(mar, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "connected", lambda on: pytest.fail("a cluster was started"))
    with pytest.raises(ArchiveError, match=r"none\.mar: no such file"):
        serving.serve_on([tmp_path / "none.mar"], settings=ServerSettings(port=0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=rf"127\.0\.0\.1:{port} cannot be used"):
            serving.serve_on([mar], settings=ServerSettings(port=port))


def test_a_canary_is_another_version_of_a_model_that_is_served(run, mar, tmp_path):
    with pytest.raises(ServingError, match=r"is 'tiny' 1\.0, as what it is compared with") as same:
        serving.write_config(tmp_path / "serve.yaml", [mar], canary=serving.Canary(mar, 0.1))
    assert same.value.remedy.endswith("boxwright archive RUN --name tiny --version NEW")
    cars = boxwright.archive(run, name="cars", version="2.0", store=tmp_path)
    with pytest.raises(ServingError, match="is a model named 'cars'; served is 'tiny'") as another:
        serving.write_config(tmp_path / "serve.yaml", [mar], canary=serving.Canary(cars, 0.1))
    assert another.value.remedy.endswith("boxwright archive RUN --name tiny --version 2.0")
    assert not (tmp_path / "serve.yaml").exists()


def test_a_cluster_that_is_not_there_leaves_no_folder_of_answers(mar, demo_data, tmp_path):
    with pytest.raises(ConfigError, match="No Ray cluster answers"):
        predict_on(mar, [str(demo_data / "test")], str(tmp_path / "answers.jsonl"), on="127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("boxwright.host.dependencies.find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as refused:
        require_ray("ray")
    assert refused.value.remedy == "pip install 'boxwright[ray]'"


def test_the_verbs_import_no_ray():
    code = (
        "import sys, boxwright.cli, boxwright.scale.prediction, boxwright.scale.training; print('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_cluster_that_lets_nobody_in_is_not_said_to_be_absent(monkeypatch):
    import ray

    from boxwright.scale import connected

    def refused(**options):
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.7:6379")  # all that Ray says of a wrong token

    monkeypatch.setattr(ray, "init", refused)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        said = f"The Ray cluster at {address} cannot be used: Failed"
        with pytest.raises(ConfigError, match=said) as told, connected(address):
            pass
    assert "RAY_AUTH_MODE=token" in told.value.remedy


def test_no_cluster_is_an_error_of_ours(monkeypatch):
    from boxwright.scale import connected

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"No Ray cluster answers at 127\.0\.0\.1:1"), connected("ray"):
        pass
