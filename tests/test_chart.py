"""The Helm chart: what it renders is valid, is what deploy/kubernetes says, and follows its values."""

import copy
import json

import jsonschema
import pytest
import yaml

import boxwright
from support.helm import render
from support.manifests import CHART, DEPLOY, KUBERNETES, REPOSITORY, documents, require_valid

VALUES = {
    "defaults": {},
    "no extras": {
        "autoscaling": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
        "replicaCount": 3,
    },
    "all extras": {
        "image": {"repository": "images.example:5000/team/detector", "tag": "7", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "fullnameOverride": "detector",
        "modelStore": {"existingClaim": "archives", "subPath": "released"},
        "server": {
            "grace": 20,
            "preStop": 10,
            "extraArgs": ["--log", "json", "--queue=50"],
            "extraEnv": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "token"}}}],
        },
        "autoscaling": {"maxReplicas": 20, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}},
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "service": {"type": "LoadBalancer", "port": 80, "metricsPort": 9000, "annotations": {"lb": "internal"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "32m"},
            "hosts": [{"host": "detector.example.org", "paths": [{"path": "/", "pathType": "Prefix"}]}],
            "tls": [{"secretName": "detector-tls", "hosts": ["detector.example.org"]}],
        },
        "serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
        "serviceAccount": {"name": "runner", "annotations": {"role": "reader"}},
        "resources": {"limits": {"cpu": 4, "nvidia.com/gpu": 1}},
        "podAnnotations": {"team": "vision"},
        "podLabels": {"tier": "models"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
                }
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "extraVolumes": [{"name": "keys", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "keys", "mountPath": "/keys"}],
    },
    "Prometheus operator, nothing else": {"serviceMonitor": {"enabled": True}},
}


@pytest.fixture(scope="module")
def rendered():
    """By name of the values documents by kind; the pod of "helm test" is a Pod."""
    told = dict(zip(VALUES, render(CHART, *VALUES.values()), strict=True))
    found = {}
    for name, one in told.items():
        assert one.get("lint") == [], one
        texts = [text for path, text in one["files"].items() if path.endswith(".yaml")]
        parts = [part for text in texts for part in yaml.safe_load_all(text) if part]
        found[name] = {part["kind"]: part for part in parts}
        assert len(found[name]) == len(parts)
        found[name]["notes"] = next(text for path, text in one["files"].items() if path.endswith("NOTES.txt"))
    return found


def manifests(of):
    return {kind: one for kind, one in of.items() if kind != "notes"}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_what_is_rendered_is_valid(name, version, rendered):
    for document in manifests(rendered[name]).values():
        require_valid(document, version)


def test_each_kind_comes_and_goes_with_its_value(rendered):
    always = {"Deployment", "Service", "Pod"}
    kinds = {name: {*manifests(one)} for name, one in rendered.items()}
    assert kinds["no extras"] == always
    assert kinds["defaults"] == always | {"ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    assert kinds["all extras"] == kinds["defaults"] | {"Ingress", "ServiceMonitor"}


def test_the_defaults_are_the_plain_manifests(rendered):
    """Both are written by hand, and say the same but for names, labels, the account and the image's tag."""
    chart = copy.deepcopy(manifests(rendered["defaults"]))
    pod = chart["Deployment"]["spec"]["template"]["spec"]
    assert pod.pop("serviceAccountName") == chart["ServiceAccount"]["metadata"]["name"]
    (container,) = pod["containers"]
    container["image"] = container["image"].split(":")[0]
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        (plain,) = documents(path)
        found = chart[plain["kind"]]
        assert found["metadata"]["name"] == plain["metadata"]["name"]
        assert without_labels(found["spec"]) == without_labels(plain["spec"]), path.name


def without_labels(part):
    """A copy without what selects and names: the chart adds the release to it."""
    if isinstance(part, list):
        return [without_labels(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {key: without_labels(one) for key, one in part.items() if key not in ("labels", "matchLabels", "selector")}


@pytest.mark.parametrize("name", VALUES)
def test_names_and_selectors_fit_each_other(name, rendered):
    kinds = rendered[name]
    deployment, service = kinds["Deployment"], kinds["Service"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [service["selector"], deployment["spec"]["selector"]["matchLabels"]]
    selectors += [kinds[kind]["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget",) if kind in kinds]
    assert all(one == selectors[0] and one.items() <= labels.items() for one in selectors)
    assert not service["selector"].items() <= kinds["Pod"]["metadata"]["labels"].items()  # it answers nobody
    assert {one["targetPort"] for one in service["ports"]} == {"http", "metrics"}
    if "HorizontalPodAutoscaler" in kinds:
        assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    if "ServiceMonitor" in kinds:
        monitor = kinds["ServiceMonitor"]["spec"]
        assert monitor["selector"]["matchLabels"].items() <= kinds["Service"]["metadata"]["labels"].items()
        assert "prometheus.io/scrape" not in deployment["spec"]["template"]["metadata"].get("annotations", {})
    asked = kinds["Pod"]["spec"]["containers"][0]["args"][0]
    port = next(one["port"] for one in service["ports"] if one["name"] == "http")
    assert f"http://{kinds['Service']['metadata']['name']}:{port}/v2/health/ready" in asked
    compile(asked, "helm test", "exec")


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
@pytest.mark.parametrize("name", VALUES)
def test_no_pod_is_root_or_writes_where_it_should_not(name, kind, rendered):
    spec = rendered[name][kind]["spec"]
    pod = spec["template"]["spec"] if kind == "Deployment" else spec
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_values_arrive(rendered):
    kinds = rendered["all extras"]
    deployment = kinds["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    values = VALUES["all extras"]
    assert container["image"] == "images.example:5000/team/detector:7@sha256:" + "0" * 64
    assert pod["imagePullSecrets"] == values["imagePullSecrets"]
    assert kinds["Deployment"]["metadata"]["name"] == kinds["Service"]["metadata"]["name"] == "detector"
    assert pod["serviceAccountName"] == kinds["ServiceAccount"]["metadata"]["name"] == "runner"
    assert container["args"][-3:] == ["--log", "json", "--queue=50"]
    assert container["args"][4:6] == ["--grace", "20"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "10"]
    assert pod["terminationGracePeriodSeconds"] == 20 + 10 + 15
    assert container["env"][1:] == values["server"]["extraEnv"]
    assert container["resources"]["limits"] == {"cpu": 4, "memory": "2Gi", "nvidia.com/gpu": 1}
    store = next(one for one in container["volumeMounts"] if one["mountPath"] == "/models")
    assert (store["subPath"], store["readOnly"]) == ("released", True)
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "archives", "readOnly": True}
    assert values["extraVolumes"][0] in pod["volumes"]
    assert values["extraVolumeMounts"][0] in container["volumeMounts"]
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
        assert pod[key] == values[key]
    assert deployment["template"]["metadata"]["annotations"] == {"team": "vision"}
    assert deployment["template"]["metadata"]["labels"]["tier"] == "models"
    assert {one["name"]: one["port"] for one in kinds["Service"]["spec"]["ports"]} == {"http": 80, "metrics": 9000}
    scaler = kinds["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 20)
    assert scaler["behavior"] == values["autoscaling"]["behavior"]
    assert kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] == "25%"
    (rule,) = kinds["Ingress"]["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (rule["host"], backend) == ("detector.example.org", {"name": "detector", "port": {"name": "http"}})
    assert kinds["Ingress"]["spec"]["tls"] == values["ingress"]["tls"]
    assert "https://detector.example.org/" in kinds["notes"]
    assert rendered["no extras"]["Deployment"]["spec"]["replicas"] == 3
    assert rendered["no extras"]["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "default"
    assert "port-forward service/boxwright 8080:8080" in rendered["defaults"]["notes"]


REFUSED = {
    "unknown": ({"imagee": {}}, "imagee"),
    "unknown, further down": ({"image": {"repo": "x"}}, "repo"),
    "a number as text": ({"replicaCount": "2"}, "replicaCount"),
    "no claim": ({"modelStore": {"existingClaim": ""}}, "existingClaim"),
    "a way out of the claim": ({"modelStore": {"subPath": "a/../../b"}}, "subPath"),
    "what the chart says itself": ({"server": {"extraArgs": ["--grace=300"]}}, "extraArgs"),
    "root": ({"user": {"id": 0}}, "id"),
    "nobody may be missing": ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    "an ingress for no host": ({"ingress": {"enabled": True}}, "hosts"),
    "a digest that is none": ({"image": {"digest": "sha256:1"}}, "digest"),
    "memory in words": ({"resources": {"limits": {"memory": "much"}}}, "memory"),
    "least above most": ({"autoscaling": {"minReplicas": 9}}, "minReplicas is larger"),
}


def test_other_values_are_refused_by_name():
    told = dict(zip(REFUSED, render(CHART, *(values for values, _ in REFUSED.values())), strict=True))
    assert all(REFUSED[name][1] in one.get("refused", "") for name, one in told.items()), told


def schemas(part):
    """Each schema of an object with named properties."""
    if isinstance(part, dict):
        if "properties" in part and "type" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from schemas(one)


def test_the_schema_knows_each_value_and_nothing_else():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    found = [*schemas(schema)]
    assert len(found) > 15
    assert all(one["additionalProperties"] is False for one in found)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {*values} == {*schema["properties"]} - {"global"}
    for key, value in values.items():
        if isinstance(value, dict) and value and "properties" in schema["properties"][key]:
            optional = {"claims"} if key == "resources" else set()
            assert {*value} == {*schema["properties"][key]["properties"]} - optional, key


def test_the_chart_is_of_this_version_and_names_no_registry():
    (chart,) = documents(CHART / "Chart.yaml")
    assert chart["appVersion"] == boxwright.__version__
    assert chart["kubeVersion"] == f">={KUBERNETES[0]}.0-0"
    (values,) = documents(CHART / "values.yaml")
    assert values["image"]["repository"] == "boxwright"
    assert f"USER {values['user']['id']}:{values['user']['group']}" in (REPOSITORY / "docker/Dockerfile").read_text()
