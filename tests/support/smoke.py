"""What an installed boxwright must do, for any environment: ``python smoke.py MAR PICTURE``, without this tree.

It imports nothing but the standard library, so that it runs under any Python that boxwright is installed for.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

SECONDS = 300


def main(mar: Path, picture: Path) -> None:
    """Version, ``predict`` and one request to ``serve``, which must agree; raises where something is wrong."""
    import boxwright

    told = _run("--version")
    assert boxwright.__version__ in told, told
    with tempfile.TemporaryDirectory() as folder:
        predicted = Path(folder) / "found.json"
        _run("predict", str(mar), str(picture), "--json", str(predicted))
        found = json.loads(predicted.read_text(encoding="utf-8"))
    answer = _served(mar, picture.read_bytes())
    assert len(answer) == len(found) > 0, (answer, found)
    print(f"boxwright {boxwright.__version__}: {len(answer)} boxes, from predict and from serve")


def _run(*arguments: str) -> str:
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "boxwright", *arguments]


def _served(mar: Path, picture: bytes) -> list[object]:
    """The answer of a server of its own, on a free port of loopback."""
    command = _command("serve", str(mar), "--host", "127.0.0.1", "--port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://\S+/predictions/\S+", line)
            assert address, line
            request = urllib.request.Request(address[0], data=picture, method="PUT")
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                answer: list[object] = json.load(response)
                return answer
        finally:
            process.terminate()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
