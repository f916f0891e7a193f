"""Torture: every attack on the laboratory, each trial made from a seed.

What must never happen is printed with the command that shows it again.

    make torture                                        # the whole, which writes metrics/benchmarks/torture.json
    python -m tests.torture --only kills                # one attack of the whole; it replaces its row of the record
    python -m tests.torture --share ci                  # three minutes of it
    python -m tests.torture --only damaged --seed 4     # one attack, other trials

Ends with status 1 if there is a finding. docs/reliability.md says what was tried and what came out.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: threads would not survive a fork

import stages  # noqa: F401, I001  (before numpy and torch: it chooses their kernels, as in a stage)
from tqdm import tqdm

from tests.torture import attacks, ground
from tests.torture.attack import KINDS, Result, Share, in_lanes


def tortured(name: str, where: ground.Ground, seed: int, share: Share, lanes: int, wanted: str | None = None) -> Result:
    """Run one attack, with a bar, and print its findings as they come.

    Args:
        name: of the attack.
        where: what trials start from.
        seed: chooses the trials.
        share: how many.
        lanes: processes side by side.
        wanted: label of a single trial; None: all.
    """
    found, began = Result(name, seed), time.monotonic()
    made = [trial for trial in attacks.ATTACKS[name](where, seed, share) if wanted in (None, trial.label)]
    if not made:
        sys.exit(f"error: {name} has no trial {wanted!r} with seed {seed} in the share {share}")
    place = where.folder.parent / "trials"
    place.mkdir(exist_ok=True)
    tqdm.monitor_interval = 0  # its thread would be there when lanes are forked
    with tqdm(in_lanes(made, lanes, place), total=len(made), desc=name, unit=" trials", file=sys.stderr) as bar:
        for trial, findings, outcomes in bar:
            found.trials += trial.count
            found.outcomes += outcomes
            for finding in findings:
                found.findings.append((trial.label, finding))
                bar.write(f"{finding.kind}: {trial.label}: {finding.what}\n    {found.again(trial.label)}", file=sys.stdout)
                sys.stdout.flush()
    found.seconds = time.monotonic() - began
    return found


def line(found: Result) -> str:
    """What came out of an attack, in one line."""
    counts = ", ".join(f"{found.of_kind(kind)} {kind}" for kind in KINDS if found.of_kind(kind)) or "nothing found"
    said = ", ".join(f"{name} {count:,}" for name, count in sorted(found.outcomes.items()))
    return f"{found.name}: {found.trials:,} trials with seed {found.seed} in {found.seconds:.0f} s: {counts} ({said})"


def main() -> None:
    """Read the command line, run the attacks, write down what came out of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", choices=("ci", "whole"), default="whole", help="how much (default: the whole)")
    parser.add_argument("--only", choices=tuple(attacks.ATTACKS), action="append", help="this attack; may be given several times")
    parser.add_argument("--seed", type=int, default=0, help="chooses the trials (default 0)")
    parser.add_argument("--trial", metavar="LABEL", help="this trial of the one attack only")
    parser.add_argument("--lanes", type=int, default=2, metavar="N", help="processes side by side (default 2)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folders of trials are cleared away
    if options.trial is not None and len(options.only or []) != 1:
        parser.error("--trial needs one --only")
    names = options.only or list(attacks.ATTACKS)
    with TemporaryDirectory(prefix="ser-torture-") as folder:
        print(f"seed {options.seed}; first everything once, undisturbed", flush=True)
        where = ground.make(Path(folder))
        results = []
        for name in names:
            results.append(tortured(name, where, options.seed, options.share, options.lanes, options.trial))
            print(line(results[-1]), flush=True)
            if options.share == "whole" and options.trial is None:
                attacks.write(results[-1:])  # after each attack, so that what an interrupted run has found is kept
    sys.exit(1 if any(found.findings for found in results) else 0)


if __name__ == "__main__":
    main()
