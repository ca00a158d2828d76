"""Stages of a long benchmark: each is done once in its folder, and what it cost is kept there."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from synthenticity.durable import write_whole


class Stages:
    """Runs commands, and keeps their processor seconds in `stages.json` of a folder.

    Args:
        folder: is made if it is not there. A stage that is named in it is not run again.

    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "stages.json"
        self._one_at_a_time = threading.Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """The processor seconds of every stage that is done, by its name."""
        if not self.path.exists():
            return {}
        found: dict[str, float] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def run(self, name: str, *arguments: object, threads: int | None = None) -> float:
        """Run the command line with arguments, and return the processor seconds that it took.

        Raises:
            SystemExit: it failed.

        """
        if name not in self.seconds:
            print(f"{name} ...", file=sys.stderr, flush=True)
            environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
            if threads is not None:
                environment["OMP_NUM_THREADS"] = str(threads)
            command = [sys.executable, "-m", "synthenticity", *map(str, arguments)]
            process = subprocess.Popen(command, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            if os.waitstatus_to_exitcode(status):
                raise SystemExit(f"{name}: failed.")
            with self._one_at_a_time:
                seconds = {**self.seconds, name: round(usage.ru_utime + usage.ru_stime, 1)}
                write_whole(self.path, json.dumps(seconds, indent=1) + "\n")
        return self.seconds[name]

    def run_side_by_side(self, commands: dict[str, list[object]]) -> None:
        """Run several commands, as many at a time as there are processors, a thread each."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            started = [
                pool.submit(self.run, name, *arguments, threads=1)
                for name, arguments in commands.items()
            ]
            for each in started:
                each.result()
