"""What KubeRay is given: commands that exist, pods that fit them, and the configuration that boxwright writes."""

import os
import re
import shlex
import tomllib

import pytest
import yaml

from boxwright.runtime import Execution
from boxwright.scale.serving import FRONT, Replicas, write_config
from boxwright.serving.settings import ServerSettings
from support.dockerfile import only, stages
from support.manifests import DEPLOY, REPOSITORY, documents, options, the

pytestmark = [
    # Ray warns of itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FILES = {path.stem: documents(path)[0] for path in sorted((DEPLOY / "kuberay").glob("*.yaml"))}
JOBS = {name: one for name, one in FILES.items() if one["kind"] == "RayJob"}
IMAGE = REPOSITORY / "docker" / "ray.Dockerfile"


def cluster_of(document):
    spec = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec["rayClusterConfig"]


def groups(document):
    """Of the head and of the workers: how many, what Ray is told, and the pod."""
    cluster = cluster_of(document)
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    head = cluster["headGroupSpec"]
    return [(1, head, head["template"]["spec"]), (workers["replicas"], workers, workers["template"]["spec"])]


def processors(count, group, pod):
    """What Ray has there; KubeRay takes the container's limit if it is told nothing."""
    (container,) = pod["containers"]
    return count * int(group["rayStartParams"].get("num-cpus", container["resources"]["limits"]["cpu"]))


def test_what_is_there():
    assert {name: one["kind"] for name, one in FILES.items()} == {
        "rayjob-train": "RayJob",
        "rayjob-tune": "RayJob",
        "rayservice": "RayService",
    }


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_a_command_that_exists_on_the_cluster_it_is_given(name):
    command = shlex.split(JOBS[name]["spec"]["entrypoint"])
    given = options(command)
    assert command[1] == name.removeprefix("rayjob-")
    assert given["on"] == "ray"  # Ray gives a job RAY_ADDRESS
    assert str(given["data"]).startswith("/shared/")
    assert str(given["out"]).startswith("/shared/")
    assert given["name"]  # so that it can be gone on with
    (head, workers) = (processors(*group) for group in groups(JOBS[name]))
    assert head == 0
    assert int(given["devices"] or workers) == workers
    again = re.search(r"entrypoint: (boxwright .*--on ray)", (DEPLOY / "kuberay" / f"{name}.yaml").read_text())
    if again:
        assert options(shlex.split(again[1]))["resume"] == f"{given['out']}/{given['name']}"


@pytest.mark.parametrize("name", FILES)
def test_the_version_of_ray_is_the_images(name):
    pinned = re.search(r"^ray==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert cluster_of(FILES[name])["rayVersion"] == pinned[1]


@pytest.mark.parametrize("name", FILES)
def test_no_pod_is_root_or_writes_where_it_should_not(name):
    document = FILES[name]
    pods = [pod for _, _, pod in groups(document)]
    submitter = document["spec"].get("submitterPodTemplate")
    pods += [submitter["spec"]] if submitter else []
    user = only(stages(IMAGE)[-1], "USER").split(":")[0]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert str(pod["securityContext"]["runAsUser"]) == user != "0"
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["image"] == "boxwright-ray"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
        jobs_own = set() if document["kind"] == "RayService" or pod is pods[2] else {"/shared"}
        assert writable == {"/tmp"} | jobs_own
        homes = {one["name"]: one["value"] for one in container["env"]}
        assert all(path == "/tmp" or path.startswith("/tmp/") for path in homes.values())
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_the_service_is_given_what_boxwright_writes(mar, tmp_path):
    """All but the archive itself: where it lies, what it is called, and when it was written."""
    text = (DEPLOY / "kuberay" / "rayservice.yaml").read_text()
    command = re.search(r"#   (boxwright serve .*)", text)[1]
    given = options(shlex.split(command))
    assert (given["on"], str(given["write_config"])) == ("ray", "serve.yaml")
    settings = ServerSettings(host="0.0.0.0")
    replicas = Replicas.parse(given["replicas"])
    write_config(tmp_path / "serve.yaml", [mar], settings, Execution("onnxruntime", "fp32"), replicas)
    written = yaml.safe_load((tmp_path / "serve.yaml").read_text())
    shown = yaml.safe_load(the("RayService")["spec"]["serveConfigV2"])
    (place,) = (part["archives"][0][0] for part in [stable(shown)])
    assert place == str(given["archives"][0])
    assert os.path.dirname(place) == "/shared/model-store"
    for part in (stable(written), stable(shown)):
        assert re.fullmatch(r"\d{19}", part.pop("stamp"))
        assert len(part.pop("versions")) == len(part["archives"]) == 1
        part["archives"][0].pop(0)
    assert shown == written


def stable(document):
    (application,) = document["applications"]
    return application["args"]["stable"]


def test_rays_own_schema_takes_the_configuration():
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(yaml.safe_load(the("RayService")["spec"]["serveConfigV2"]))


def test_ports_and_processors_of_the_service_fit_its_pods():
    service = the("RayService")
    shown = yaml.safe_load(service["spec"]["serveConfigV2"])
    for _, _, pod in groups(service):
        ports = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
        assert (
            ports["serve"] == shown["http_options"]["port"]
        )  # by this name KubeRay finds it, for its Service and probes
    front, replicas = shown["applications"][0]["deployments"]
    assert (front["name"], front["num_replicas"]) == (FRONT, 1)
    assert "num_cpus" not in front["ray_actor_options"]  # on one processor, which is Ray's default
    most = replicas["autoscaling_config"]["max_replicas"]
    assert 1 + most * replicas["ray_actor_options"]["num_cpus"] <= sum(processors(*one) for one in groups(service))


def test_the_image_has_what_kuberay_and_the_commands_need():
    build, image = stages(IMAGE)
    extras = only(build, "ARG").removeprefix("EXTRAS=").split(",")
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"train", "tune", "ray"} <= {*extras} <= {*known}
    step = only(image, "RUN")
    assert " wget " in step  # KubeRay's probes
    assert 'PATH=/opt/boxwright/bin:\\$PATH" > /etc/profile.d/' in step  # it starts Ray from a login shell
    assert "RAY_USAGE_STATS_ENABLED=0" in only(image, "ENV")
    assert not any(keyword in ("ENTRYPOINT", "CMD") for keyword, _ in image)  # KubeRay gives the command
