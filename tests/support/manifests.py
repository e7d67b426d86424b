"""What the files of deploy/ are held against: documents, and a schema for each kind.

Kubernetes' own kinds are checked against its published schemas, in which no unknown field passes. KServe, KubeRay and
the Prometheus operator publish no schema in a package: their kinds are written down here as far as they are used, with
Kubernetes' own for what they take from it; and so is Compose. Kubeflow publishes its models, which are used.
"""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import typer.main
import yaml
from referencing import Registry, Resource

from boxwright.cli import app

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm" / "boxwright"
KUBERNETES = ("1.30", "1.37")
"""Oldest and newest that is checked."""


def documents(path):
    """Those of a file of YAML."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def everything():
    """Path and document of all that is YAML in deploy/, but the chart, which is rendered."""
    paths = [path for path in sorted(DEPLOY.rglob("*.yaml")) if CHART not in path.parents]
    return [(path, one) for path in paths for one in documents(path)]


def the(kind):
    """The only document of its kind."""
    (found,) = [one for _, one in everything() if one.get("kind") == kind]
    return found


def closed(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def texts(of=None):
    return {"type": "array", "items": of or {"type": "string"}, "minItems": 1}


TEXT, BOOLEAN = {"type": "string"}, {"type": "boolean"}
LABELS = {"type": "object", "additionalProperties": TEXT}
META = closed(("name",), name={"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$"}, annotations=LABELS)
VERSION = {"type": "string", "pattern": r"^\d+(\.\d+){0,2}$"}
PROTOCOL = {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}


def core(name):
    return {"$ref": f"_definitions.json#/$defs/io.k8s.api.core.v1.{name}"}


SERVING_RUNTIME = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "serving.kserve.io/v1alpha1"},
    kind={"const": "ClusterServingRuntime"},
    metadata=META,
    spec=closed(
        ("containers",),
        annotations=LABELS,
        supportedModelFormats=texts(
            closed(
                ("name",),
                name=TEXT,
                version=VERSION,
                autoSelect=BOOLEAN,
                priority={"type": "integer", "minimum": 1},
            )
        ),
        protocolVersions=texts(PROTOCOL),
        containers={**texts(core("Container")), "contains": {"properties": {"name": {"const": "kserve-container"}}}},
        volumes=texts(core("Volume")),
    ),
)
INFERENCE_SERVICE = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=META,
    spec=closed(
        ("predictor",),
        predictor=closed(
            ("model",),
            minReplicas={"type": "integer", "minimum": 0},
            maxReplicas={"type": "integer", "minimum": 0},
            canaryTrafficPercent={"type": "integer", "minimum": 0, "maximum": 100},
            model=closed(
                ("modelFormat", "storageUri"),
                modelFormat=closed(("name",), name=TEXT, version=VERSION),
                runtime=TEXT,
                protocolVersion=PROTOCOL,
                storageUri={"type": "string", "pattern": "^(pvc|s3|gs|hdfs|https?|oci)://"},
                args=texts(),
                resources=core("ResourceRequirements"),
            ),
        ),
    ),
)
DURATION = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$"}
BYTES = {"type": "string", "pattern": r"^\d+[bkmg]$"}
PROJECT = closed(
    ("services",),
    name={"type": "string", "pattern": r"^[a-z0-9][a-z0-9_-]*$"},
    services={
        "type": "object",
        "additionalProperties": closed(
            ("image",),
            image=TEXT,
            build=closed(("context",), context=TEXT, dockerfile=TEXT),
            command=texts(),
            environment=LABELS,
            ports=texts({"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}),
            volumes=texts(
                closed(
                    ("type", "source", "target"), type={"const": "bind"}, source=TEXT, target=TEXT, read_only=BOOLEAN
                )
            ),
            read_only=BOOLEAN,
            tmpfs=texts(),
            cap_drop=texts(),
            security_opt=texts(),
            cpus={"type": "number", "exclusiveMinimum": 0},
            mem_limit=BYTES,
            stop_grace_period=DURATION,
            restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
        ),
    },
)
COUNT = {"type": "integer", "minimum": 0}
RAY_PARAMETERS = {"type": "object", "additionalProperties": TEXT}
RAY_CLUSTER = closed(
    ("headGroupSpec",),
    rayVersion=VERSION,
    headGroupSpec=closed(("template",), rayStartParams=RAY_PARAMETERS, template=core("PodTemplateSpec")),
    workerGroupSpecs=texts(
        closed(
            ("groupName", "template"),
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=RAY_PARAMETERS,
            template=core("PodTemplateSpec"),
        )
    ),
)
RAY_JOB = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=META,
    spec=closed(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        shutdownAfterJobFinishes=BOOLEAN,
        ttlSecondsAfterFinished=COUNT,
        submitterPodTemplate=core("PodTemplateSpec"),
        rayClusterSpec=RAY_CLUSTER,
    ),
)
RAY_SERVICE = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=META,
    spec=closed(("serveConfigV2", "rayClusterConfig"), serveConfigV2=TEXT, rayClusterConfig=RAY_CLUSTER),
)
SERVICE_MONITOR = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata=closed(("name",), name=META["properties"]["name"], labels=LABELS),
    spec=closed(
        ("selector", "endpoints"),
        selector=closed(("matchLabels",), matchLabels=LABELS),
        endpoints=texts(closed(("port",), port=TEXT, path=TEXT, interval=DURATION)),
    ),
)
OURS = {
    "ClusterServingRuntime": SERVING_RUNTIME,
    "InferenceService": INFERENCE_SERVICE,
    "RayJob": RAY_JOB,
    "RayService": RAY_SERVICE,
    "ServiceMonitor": SERVICE_MONITOR,
    None: PROJECT,
}
"""By kind; without one a document is Compose's."""


def require_valid(document, version):
    """Raise a ValueError, or jsonschema's ValidationError, unless a document is what its reader takes."""
    kind = document.get("kind")
    if kind == "TrainJob":
        _require_known_to_kubeflow(document)
    elif kind in OURS:
        folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{version}.0-local-strict"
        definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
        registry = Registry().with_resource("_definitions.json", definitions)
        jsonschema.Draft202012Validator(OURS[kind], registry=registry).validate(document)
    else:
        kubernetes_validate.validate(document, version, strict=True)


def _require_known_to_kubeflow(document):
    """Kubeflow's models judge each value, and leave out what they do not know."""
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    known = TrainerV1alpha1TrainJob.from_dict(document).to_dict()
    if known != document:
        raise ValueError(f"unknown to Kubeflow: {json.dumps(document, sort_keys=True)} became {json.dumps(known)}")


def options(command):
    """What the command line makes of it; it raises for what it does not know."""
    program, verb, *arguments = command
    assert Path(program).name == "boxwright"
    verbs = typer.main.get_command(app)
    _, found, _ = verbs.resolve_command(verbs.make_context("boxwright", [verb]), [verb])
    return found.make_context(verb, arguments).params
