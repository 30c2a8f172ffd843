"""An engine that answers commands, a line each.

`case SPEC` makes a case ready, which takes the place of the one before; SPEC is a JSON object. `run` computes it once, and
`write` also writes what came out to the file that SPEC names. An answer is a JSON object on a line of its own: `seconds`,
and in `unwritten` why nothing could be written; or an `error`.
"""

import gc
import importlib
import json
import os
import sys
import time
import traceback

import numpy as np
from safetensors.numpy import save_file


def answered(command, state):
    """What comes of a command."""
    kind, _, rest = command.strip().partition(" ")
    if kind == "case":
        state.clear()
        gc.collect()
        state["spec"] = json.loads(rest)
        start = time.perf_counter()
        state["compute"] = importlib.import_module(state["spec"]["module"]).prepare(state["spec"])
        return {"seconds": time.perf_counter() - start}
    start = time.perf_counter()
    value = state["compute"]()
    answer = {"seconds": time.perf_counter() - start}
    if kind == "write" and isinstance(value, str):
        answer["unwritten"] = value
    elif kind == "write":
        # numpy knows no bf16.
        value = value.float() if hasattr(value, "float") else value
        save_file({"output": np.ascontiguousarray(value, dtype=np.float32)}, state["spec"]["output"])
    return answer


def main():
    # What libraries print goes where errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    state = {}
    for command in sys.stdin:
        try:
            answer = answered(command, state)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
