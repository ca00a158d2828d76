"""A provider in a process of its own, to be killed."""

import subprocess
import sys

from synthenticity.stream.batch_queue import BatchQueue


def owner_in_another_process(queue: BatchQueue, report: str) -> subprocess.Popen:
    """Own a queue, report (the arguments as Python writes them) and do nothing, until killed."""
    code = (
        "import time; from synthenticity.stream.batch_queue import BatchQueue\n"
        f"with BatchQueue({str(queue.directory)!r}).owned() as ownership:\n"
        f"    ownership.report({report})\n"
        "    print('owned', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    return process
