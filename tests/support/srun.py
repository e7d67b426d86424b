"""A stand-in for Slurm's srun: starts the tasks of one node beside each other, with the variables that srun gives them.

python srun.py TASKS PORT COMMAND...
"""

import os
import subprocess
import sys


def main() -> int:
    """Returns 0 if all tasks do; else all are ended."""
    tasks, port, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    shared = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "boxwright",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "MASTER_PORT": port,  # the job id would choose one that may be taken
    }
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(tasks)]
    started = [subprocess.Popen(command, env={**os.environ, **shared, **own}) for own in ranks]
    codes = [one.wait() for one in started]
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
