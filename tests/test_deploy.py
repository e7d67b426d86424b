"""The files of deploy/ fit the systems that read them, the command line and each other."""

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import jsonschema
import pytest

from boxwright.runtime import Execution
from boxwright.serving.app import create_app
from boxwright.serving.engine import Engine, load_models
from support.dockerfile import only, stages
from support.manifests import DEPLOY, KUBERNETES, REPOSITORY, documents, everything, options, require_valid, the

UNIT = DEPLOY / "systemd" / "boxwright.service"
IMAGE = stages(REPOSITORY / "docker" / "Dockerfile")[-1]
ENTRYPOINT = json.loads(only(IMAGE, "ENTRYPOINT"))
SECONDS_TO_END = 10
"""What is left after --grace for the server to end."""


COMPOSE = documents(DEPLOY / "compose.yaml")[0]["services"]["boxwright"]
POD = the("Deployment")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
RUNTIME = the("ClusterServingRuntime")["spec"]
(SERVED,) = RUNTIME["containers"]


# schemas


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    ("path", "document"), [pytest.param(*one, id=f"{one[0].name}-{one[1].get('kind')}") for one in everything()]
)
def test_every_document_is_valid(path, document, version):
    require_valid(document, version)


def broken():
    """Each document with a mistake of the kind that people make."""
    for kind, mistake in {
        "Deployment": lambda one: one["spec"]["template"]["spec"].update(terminationGraceSeconds=80),
        "Service": lambda one: one["spec"]["ports"][0].update(port="http"),
        "PodDisruptionBudget": lambda one: one["spec"].update(maxMissing=1),
        "HorizontalPodAutoscaler": lambda one: one["spec"].update(targetCPUUtilizationPercentage=80),
        "ClusterServingRuntime": lambda one: one["spec"]["containers"][0].update(arguments=[]),
        "InferenceService": lambda one: one["spec"]["predictor"].update(trafficPercent=10),
        "RayJob": lambda one: one["spec"]["rayClusterSpec"]["headGroupSpec"]["template"].update(containers=[]),
        "RayService": lambda one: one["spec"].update(serveConfig=""),
        "TrainJob": lambda one: one["spec"]["trainer"].update(nodes=2),
        None: lambda one: one["services"]["boxwright"].update(readonly=True),
    }.items():
        document = copy.deepcopy(next(one for _, one in everything() if one.get("kind") == kind))
        mistake(document)
        yield pytest.param(document, id=str(kind))


@pytest.mark.parametrize("document", [*broken()])
def test_a_mistake_does_not_pass(document):
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        require_valid(document, KUBERNETES[-1])


# the command line


def unit():
    """Values by key; a key that occurs again adds one."""
    found = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


COMMANDS = {
    "unit": shlex.split(unit()["ExecStart"][0]),
    "compose": [*ENTRYPOINT, *COMPOSE["command"]],
    "deployment": [*ENTRYPOINT, *CONTAINER["args"]],
    "runtime": [*ENTRYPOINT, *SERVED["args"]],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_has_every_option(name):
    given = options(COMMANDS[name])
    assert given["port"] == 8080
    assert str(given["store"]).startswith("/")
    assert given["management_port"] is None  # nobody may change what is served unless told so


def test_an_option_that_does_not_exist_does_not_pass():
    with pytest.raises(Exception, match="--model-store"):  # typer keeps its click to itself
        options([*ENTRYPOINT, "--model-store", "/models"])


def seconds(text):
    hours, minutes, rest = (
        int(part or 0) for part in re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text).groups()
    )
    return 3600 * hours + 60 * minutes + rest


def test_nothing_is_killed_before_accepted_work_is_done():
    grace = {name: options(command)["grace"] for name, command in COMMANDS.items()}
    pause = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert seconds(unit()["TimeoutStopSec"][0]) >= grace["unit"] + SECONDS_TO_END
    assert seconds(COMPOSE["stop_grace_period"]) >= grace["compose"] + SECONDS_TO_END
    assert POD["terminationGracePeriodSeconds"] >= pause + grace["deployment"] + SECONDS_TO_END
    assert grace["runtime"] < 30  # Kubernetes' default, which a ClusterServingRuntime cannot change


# what fits what


@pytest.mark.parametrize("container", [CONTAINER, SERVED], ids=["deployment", "runtime"])
def test_a_container_can_write_what_is_mounted_for_it_and_nothing_else(container):
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    volumes = {one["name"]: one for one in (POD if container is CONTAINER else RUNTIME)["volumes"]}
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert {one["name"] for one in mounts.values()} == volumes.keys()
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
    writable = [path for path, one in mounts.items() if not one.get("readOnly")]
    assert writable == ["/tmp"]
    (cache,) = [one["value"] for one in container["env"] if one["name"] == "XDG_CACHE_HOME"]
    assert cache.startswith("/tmp/")


def test_the_user_is_the_images():
    user = only(IMAGE, "USER").split(":")[0]
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert str(POD["securityContext"]["runAsUser"]) == user
    assert SERVED["securityContext"]["runAsNonRoot"] is True
    assert str(SERVED["securityContext"]["runAsUser"]) == user
    assert user != "0"


def test_ports_are_those_that_the_server_binds():
    given = options(COMMANDS["deployment"])
    ports = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
    assert ports == {"http": given["port"], "metrics": given["metrics_port"]}
    service = the("Service")["spec"]
    assert {one["targetPort"] for one in service["ports"]} == ports.keys()
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == the("Deployment")["spec"]["selector"]["matchLabels"] == labels
    annotations = the("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["metrics"])
    assert [one["containerPort"] for one in SERVED["ports"]] == [options(COMMANDS["runtime"])["port"]]
    assert RUNTIME["annotations"]["prometheus.kserve.io/port"] == str(SERVED["ports"][0]["containerPort"])
    assert COMPOSE["ports"] == [f"127.0.0.1:8080:{options(COMMANDS['compose'])['port']}"]


def test_archives_lie_where_the_server_looks():
    mounted = [one["mountPath"] for one in CONTAINER["volumeMounts"]]
    assert str(options(COMMANDS["deployment"])["store"]) in mounted
    assert str(options(COMMANDS["compose"])["store"]) in [one["target"] for one in COMPOSE["volumes"]]
    assert str(options(COMMANDS["runtime"])["store"]).startswith("/mnt/models/")  # where KServe puts them


def test_the_server_answers_every_path_that_is_asked_for(mar):
    engine = Engine(load_models([mar], Execution("onnxruntime")))
    probes = [container[probe] for container in (CONTAINER, SERVED) for probe in container if "Probe" in probe]
    paths = {
        *(probe["httpGet"]["path"] for probe in probes),
        RUNTIME["annotations"]["prometheus.kserve.io/path"],
        the("Deployment")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"],
    }
    assert paths == {"/v2/health/live", "/v2/health/ready", "/metrics"}

    async def statuses():
        transport = httpx.ASGITransport(create_app(engine))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return {path: (await client.get(path)).status_code for path in paths}

    try:
        assert anyio.run(statuses) == dict.fromkeys(paths, 200)
    finally:
        engine.close(10)


def test_the_budget_and_the_autoscaler_are_the_deployments():
    deployment, budget, scaler = (
        the("Deployment"),
        the("PodDisruptionBudget")["spec"],
        the("HorizontalPodAutoscaler")["spec"],
    )
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert budget["selector"] == deployment["spec"]["selector"]
    assert scaler["scaleTargetRef"] == target
    assert "replicas" not in deployment["spec"]  # applying it again must not undo what the autoscaler did
    assert budget["maxUnavailable"] < scaler["minReplicas"] <= scaler["maxReplicas"]
    assert {one["resource"]["name"] for one in scaler["metrics"]} <= CONTAINER["resources"]["requests"].keys()


def test_the_canary_is_the_service_with_another_archive():
    (path,) = DEPLOY.rglob("canary.yaml")
    (canary,) = documents(path)
    service = next(
        one for one in documents(path.with_name("inferenceservice.yaml")) if one["metadata"] == canary["metadata"]
    )
    assert 0 < canary["spec"]["predictor"].pop("canaryTrafficPercent") < 100
    uris = [one["spec"]["predictor"]["model"].pop("storageUri") for one in (service, canary)]
    assert len({*uris}) == 2  # only another storage makes another revision
    assert canary == service


def test_services_take_a_runtime_that_has_their_format_and_protocol():
    services = [one["spec"]["predictor"]["model"] for _, one in everything() if one.get("kind") == "InferenceService"]
    assert {one["modelFormat"]["name"] for one in services} == {"boxwright", "pytorch"}
    formats = {(one["name"], version) for one in RUNTIME["supportedModelFormats"] for version in (None, one["version"])}
    for one in services:
        assert (one["modelFormat"]["name"], one["modelFormat"].get("version")) in formats
        assert one["protocolVersion"] in RUNTIME["protocolVersions"]
        assert one.get("runtime", "boxwright") == the("ClusterServingRuntime")["metadata"]["name"]


def test_systemd_takes_the_unit(tmp_path):
    program = shlex.split(unit()["ExecStart"][0])[0]
    installed = Path(sys.executable).with_name("boxwright")
    copied = tmp_path / UNIT.name
    copied.write_text(UNIT.read_text().replace(program, str(installed)))
    found = shutil.which("systemd-analyze")
    assert found, "systemd-analyze is not installed: apt-get install systemd."
    done = subprocess.run([found, "verify", copied], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    copied.write_text(copied.read_text().replace("KillMode=mixed", "KillMode=gently"))
    wrong = subprocess.run([found, "verify", copied], capture_output=True, text=True, timeout=60)
    assert "Failed to parse kill mode" in wrong.stderr


def test_the_unit_keeps_its_cache_where_it_may_write():
    assert unit()["Environment"] == ["XDG_CACHE_HOME=/var/cache"]
    assert unit()["CacheDirectory"] == ["boxwright"]  # of /var/cache, which boxwright calls by the same name
