"""`create_and_poll` of the unmodified SDK on a run whose model takes 350 ms, beside the SDK's own call of that model.

Calls alternate, so that a busy moment hits both alike.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from statistics import median
from typing import Any

import openai

from bench import measuring, upstream
from bench.measuring import Target, quantile
from bench.server import serving

_ASKED: Any = {"role": "user", "content": "thinking"}


def measure(base_url: str, model_url: str, repeats: int) -> dict[str, Any]:
    warnings.simplefilter("ignore", DeprecationWarning)
    locum = openai.OpenAI(base_url=base_url, api_key="any")
    model = openai.OpenAI(base_url=model_url, api_key="any")
    assistant = locum.beta.assistants.create(model="bench").id
    polled: list[float] = []
    direct: list[float] = []
    for _ in range(repeats):
        thread = locum.beta.threads.create(messages=[_ASKED]).id
        began = time.perf_counter()
        run = locum.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
        polled.append((time.perf_counter() - began) * 1000)
        assert run.status == "completed", run.last_error
        began = time.perf_counter()
        for _chunk in model.chat.completions.create(model="bench", messages=[_ASKED], stream=True):
            pass
        direct.append((time.perf_counter() - began) * 1000)
    keep = slice(2, None)
    return {
        name: {"p50": round(median(values[keep]), 1), "p99": round(quantile(values[keep], 0.99), 1)}
        for name, values in (("create_and_poll_ms", polled), ("direct_ms", direct))
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=40)
    options = arguments.parse_args()
    began_on = measuring.machine()
    with (
        upstream.running() as model_url,
        serving(LOCUM_MODEL_BASE_URL=model_url, LOCUM_SANDBOX="off") as server,
    ):
        figures = measure(server.base_url, model_url, options.repeats)
    measuring.print_table(
        ["a run of 350 ms", "p50 ms", "p99 ms"],
        [[name, f"{times['p50']:.1f}", f"{times['p99']:.1f}"] for name, times in figures.items()],
    )
    ratio = figures["create_and_poll_ms"]["p50"] / figures["direct_ms"]["p50"]
    measuring.save("polling", figures, [Target("create_and_poll / direct call", ratio, at_most=1.1)], began_on)


if __name__ == "__main__":
    sys.exit(main())
