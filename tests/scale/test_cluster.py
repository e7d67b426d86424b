"""What is said before a cluster is started."""

import socket
import subprocess
import sys

import pytest

from boxwright.runtime import ConfigError, MissingDependency
from boxwright.scale.cluster import require_ray


@pytest.mark.parametrize("on", ["ray", "ray://head:10001", "10.0.0.7:6379", "[::1]:6379", "auto"])
def test_what_may_stand_for_a_cluster(on):
    require_ray(on)


@pytest.mark.parametrize("on", ["", "spark", "ray://", "ray://head", "http://head:8265", "local"])
def test_anything_else_is_refused_with_what_to_give(on):
    with pytest.raises(ConfigError, match=r"--on .* is not a cluster") as refused:
        require_ray(on)
    assert "ray://HOST:PORT" in refused.value.remedy


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
