"""A run without atheris: changes the corpus at random, and keeps what is a finding."""

from __future__ import annotations

import hashlib
import random
import traceback
from pathlib import Path

from fuzz.harness import Harness, read_corpus
from fuzz.mutation import mutate


def search(harness: Harness, runs: int, seed: int, findings: Path) -> Path | None:
    """Try so many inputs; return the file in `findings` of the first one that is a finding, None without one."""
    corpus = [data for _, data in read_corpus(harness.corpus)]
    chance = random.Random(seed)
    for _ in range(runs):
        data = mutate(chance, corpus)
        try:
            harness.check(data)
        except Exception:
            traceback.print_exc()
            return _keep(findings, harness.name, data)
    return None


def _keep(findings: Path, name: str, data: bytes) -> Path:
    findings.mkdir(exist_ok=True)
    path = findings / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:40]}"
    path.write_bytes(data)
    return path
