"""How a contender of `smhdr bench` talks: see src/bench/contender.ts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

# Whatever libraries print must not come between the answers.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**message: object) -> None:
    print(json.dumps(message), file=_answers, flush=True)


def peak_bytes() -> int | None:
    """The most memory this process has held; ru_maxrss also counts what its parent held when it was started."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except (OSError, ImportError):
        return None


def serve(prepare: Callable[[dict], tuple[str, Callable[[bool], float]]]) -> None:
    """`prepare` takes the task and gives a version and the work, which takes whether to leave its result and gives seconds."""
    try:
        version, run = prepare(json.loads(sys.argv[1]))
    except ImportError as error:
        say(missing=str(error))
        return
    say(ready=version)
    for line in sys.stdin:
        seconds = run(line.strip() == "check")
        peak = peak_bytes()
        say(seconds=seconds, **({} if peak is None else {"peakBytes": peak}))
