"""What do threads cost that spin while they wait, alone and beside another process?

Training steps of the demo's scorer in a process of their own, OpenMP's wait policy left as it is
and set to passive in turns, first alone, then beside a process that does the same all the time.
"""

import os
import statistics
import subprocess
import sys

import record

ROUNDS, STEPS = 5, 20
POLICIES = {"default (spinning)": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
WORKER = """
import sys, time
import torch
from synthenticity.config import Config
from synthenticity.text.tokenization import build_character_tokenizer
from synthenticity.training.loss import ScorerLoss
from synthenticity.training.model import build_scorer

tokenizer = build_character_tokenizer([map(chr, range(32, 110))], block_size=257)
torch.manual_seed(0)
scorer = build_scorer(Config(block_size=257), tokenizer).train()
optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-4)
ids = torch.randint(4, len(tokenizer), (8, 257))
ids[:, 0] = tokenizer.cls_token_id
labels = torch.randint(0, 3, ids.shape)
labels[:, 0] = -100
step, steps = 0, int(sys.argv[1])
while steps < 0 or step < steps + 5:
    if step == 5:
        start = time.perf_counter()
    optimizer.zero_grad()
    ScorerLoss()(scorer(ids), torch.rand(8), labels).backward()
    optimizer.step()
    step += 1
print((time.perf_counter() - start) / steps)
"""


def run(steps: int, policy: dict[str, str]) -> subprocess.Popen[str]:
    """Start a worker; endless with -1 steps."""
    command = [sys.executable, "-c", WORKER, str(steps)]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    return subprocess.Popen(
        command, env={**environment, **policy}, stdout=subprocess.PIPE, text=True
    )


def step_milliseconds(policy: dict[str, str], *, beside_another: bool) -> float:
    """Return the time of a step of one worker."""
    other = run(-1, policy) if beside_another else None
    try:
        return float(run(STEPS, policy).communicate()[0]) * 1000
    finally:
        if other is not None:
            other.kill()
            other.wait()


def main() -> None:
    rows = []
    for beside in (False, True):
        times: dict[str, list[float]] = {name: [] for name in POLICIES}
        for _ in range(ROUNDS):
            for name, policy in POLICIES.items():
                times[name].append(step_milliseconds(policy, beside_another=beside))
        medians = {name: statistics.median(values) for name, values in times.items()}
        spinning, passive = medians.values()
        rows.append(
            {
                "machine": "beside a process that does the same" if beside else "otherwise idle",
                **{f"{name}, ms a step": round(value) for name, value in medians.items()},
                "spinning / passive": round(spinning / passive, 2),
            }
        )
    record.write(
        "waiting_threads",
        title="Threads that wait",
        command="python benchmarks/waiting_threads.py",
        about="Steps of the demo's scorer (8 sequences of 257 tokens), in turns with OpenMP's wait "
        f"policy as it is and passive, as `prepare` and `train` set it; medians of {ROUNDS}.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
