"""Renders and lints a chart with Helm's own code, the library in helm-python-sdk.

In a process of its own: the library brings Go's threads and signal handlers with it.
"""

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import json, sys
import helm_python as helm

asked = json.load(sys.stdin)
told = []
with helm.Chart.load(asked["chart"]) as chart:
    for values in asked["values"]:
        try:
            chart.validate_schema(values)
            files = chart.render(values, name=asked["release"], namespace=asked["namespace"])
            lint = helm.lint(asked["chart"], values, strict=True, namespace=asked["namespace"])
            said = lint["errors"] + [one for one in lint["messages"] if one["severity"] > 1]
            told.append({"files": files, "lint": said})
        except helm.HelmError as error:
            told.append({"refused": str(error)})
json.dump(told, sys.stdout)
"""


def render(chart: Path, *values: dict, release: str = "boxwright", namespace: str = "detectors") -> list[dict]:
    """Per values ``files`` by their template's path, and what ``lint --strict`` says; or why it was ``refused``."""
    asked = {"chart": str(chart), "values": values, "release": release, "namespace": namespace}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(asked), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
