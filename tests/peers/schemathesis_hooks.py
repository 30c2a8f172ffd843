"""Leads half of the requests of a schemathesis run to a job that exists, and keeps its jobs small.

The job's name stands in SD_PEERS_JOB: it has ended and has a picture.
"""

import os

import schemathesis
from schemathesis.core.parameters import ParameterLocation

JOB = os.environ["SD_PEERS_JOB"]
calls = 0


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    global calls
    calls += 1
    method, path, parameters = case.operation.method.upper(), case.operation.path, case.path_parameters
    if method == "POST" and path == "/v1/jobs":
        keep_small(case)
    # A path that is wrong on purpose stays wrong, or its answer would be judged by what was not sent.
    elif parameters and "id" in parameters and not case.meta.is_negative_at(ParameterLocation.PATH):
        if method == "DELETE":
            parameters["id"] = "nobody" if parameters["id"] == JOB else parameters["id"]
        # A stream of a waiting job is open until the job has been drawn, which no run waits for.
        elif path.endswith("/stream") or (calls % 2 and case.meta.phase.name != "stateful"):
            parameters["id"] = JOB
            if "index" in parameters and calls % 4 == 1:
                parameters["index"] = 0


def keep_small(case) -> None:
    """A job that is meant to be accepted may be drawn, too, and a machine has better things to do meanwhile."""
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        case.body.update(width=64, height=64, steps=1, batch_size=1)
