"""How many files a process may have open."""

import subprocess
import sys

CODE = """
import resource, sys
from boxwright.host.processes import allow_open_files
soft, hard = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_open_files(int(sys.argv[3])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def allowed(soft, hard, wanted):
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, (soft, hard, wanted))], capture_output=True, text=True, check=True
    )
    return tuple(map(int, done.stdout.split()))


def test_the_limit_rises_to_what_is_wanted():
    assert allowed(128, 1000, 600) == (600, 600)


def test_it_rises_no_higher_than_the_system_lets_it():
    assert allowed(128, 300, 600) == (300, 300)


def test_one_that_is_enough_is_left():
    assert allowed(800, 1000, 600) == (800, 800)
