"""Whether a run at real size that is killed at random moments ends in the same files.

    python benchmarks/out_of_core_kills.py CHECKPOINT WHOLE OUTPUT [KILLS] [MOST_SECONDS]

WHOLE is what `int8gate quantize-checkpoint CHECKPOINT` made without a kill, of INT4. Every run is
killed with SIGKILL after at most MOST_SECONDS, the last one is not. Prints JSON; the exit code is 1
where the files differ.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from int8gate.engine.file_digest import sha256_of


def kill_and_compare(
    checkpoint: Path, whole: Path, output: Path, kills: int, most_seconds: float
) -> dict:
    """JSON-ready: when the runs were killed, how many batches each had written, the digests."""
    command = [sys.executable, "-m", "int8gate.cli.app", "quantize-checkpoint", str(checkpoint)]
    command += ["--output", str(output)]
    journal = output.with_name(f"{output.name}.partial") / "journal"
    rng, runs = random.Random(0), []
    for _ in range(kills):
        process = subprocess.Popen(command)
        seconds = rng.uniform(0, most_seconds)
        time.sleep(seconds)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            break  # it was done before: `runs` says how many were killed
        lines = journal.read_bytes().count(b"\n") if journal.exists() else 0
        runs.append({"killed_after_s": round(seconds, 1), "lines_of_journal": lines})
    if not output.exists():
        subprocess.run(command, check=True)
    digests = {
        file.name: (sha256_of(file), sha256_of(output / file.name)) for file in whole.iterdir()
    }
    return {
        "runs": runs,
        "sha256": {name: one for name, (one, _) in digests.items()},
        "is_same": all(one == other for one, other in digests.values()),
    }


if __name__ == "__main__":
    checkpoint, whole, output, *numbers = sys.argv[1:]
    kills, most = (int(each) for each in (*numbers, *("3", "60")[len(numbers) :]))
    result = kill_and_compare(Path(checkpoint), Path(whole), Path(output), kills, most)
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["is_same"] else 1)
