"""``python -m fuzz NAME --runs 1000000``: a harness under atheris, or without a guide."""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from fuzz.harness import MAX_BYTES, NAMES, Harness, load_harness
from fuzz.mutation import WORDS
from fuzz.unguided import search

_FINDINGS = Path("fuzz-findings")
_SECONDS_PER_INPUT = 20
_MEMORY_MIB = 2048
_KEPT_BYTES = 4096
"""Nothing larger is taken into the corpus."""


def _load_instrumented(name: str) -> tuple[Harness, Any]:
    """Return the harness with all of our code made visible to the guide, and atheris itself."""
    try:
        import atheris
    except ImportError as error:
        raise click.UsageError("atheris is not installed (pip install '.[fuzz]'); --unguided does without") from error
    with atheris.instrument_imports(include=["pushmirror"]):
        return load_harness(name), atheris


def _write_words(folder: Path) -> Path:
    path = folder / "words"
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return path


def _run_guided(name: str, runs: int, working: Path, seed: int) -> None:
    harness, atheris = _load_instrumented(name)
    _FINDINGS.mkdir(exist_ok=True)
    _write(working, harness.seeds(), MAX_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        options = [
            f"-runs={runs}", f"-max_len={MAX_BYTES}", f"-timeout={_SECONDS_PER_INPUT}", f"-rss_limit_mb={_MEMORY_MIB}",
            f"-artifact_prefix={_FINDINGS}/{name}-", f"-dict={_write_words(Path(folder))}", f"-seed={seed}",
            "-print_final_stats=1", "-use_value_profile=0",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options, str(working), str(harness.corpus)], harness.check)
        atheris.Fuzz()


def _run_unguided(name: str, runs: int, seed: int) -> None:
    started_s = time.monotonic()
    finding = search(load_harness(name), runs, seed, _FINDINGS)
    if finding is not None:
        raise SystemExit(f"seed {seed} of {name} came to a finding: {finding}")
    click.echo(f"{name}: {runs} runs in {time.monotonic() - started_s:.0f} s, no finding")


def _write(folder: Path, found: Iterable[bytes], max_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in found:
        if len(data) <= max_bytes:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _write_seeds(name: str) -> None:
    """Put the seeds of a harness into its corpus, beside what is there."""
    harness = load_harness(name)
    _write(harness.corpus, harness.seeds(), _KEPT_BYTES)
    click.echo(f"{name}: {len(list(harness.corpus.iterdir()))} files in {harness.corpus}")


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--runs", default=1_000_000, show_default=True, help="How many inputs are tried.")
@click.option("--seed", default=1, show_default=True, help="What chance begins with.")
@click.option("--unguided", is_flag=True, help="Change the corpus at random, without atheris.")
@click.option("--working", type=click.Path(path_type=Path), help="Where what reaches something new is kept.")
@click.option("--write-seeds", is_flag=True, help="Write the seeds into the corpus, and try nothing.")
def main(name: str, runs: int, seed: int, unguided: bool, working: Path | None, write_seeds: bool) -> None:
    """Try inputs on one harness. A finding ends it, and is kept as a file in fuzz-findings/."""
    logging.disable()
    if write_seeds:
        _write_seeds(name)
    elif unguided:
        _run_unguided(name, runs, seed)
    else:
        _run_guided(name, runs, working or Path("fuzz-work") / name, seed)


if __name__ == "__main__":
    main()
