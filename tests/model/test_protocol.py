"""The protocol against everything that can happen to it: at the end every mirror is exact, and all is told truly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine, Rules
from tests.model.tiers import Tiers

pytestmark = pytest.mark.slow


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("machine", "steps", "examples", "examples_in_full"),
    [(Machine, 50, 100, 1_000), (Tiers, 40, 60, 1_000)],
    ids=["one tier", "tiers"],
)
def test_every_mirror_is_exact_in_the_end(
    full: bool, machine: type[Rules], steps: int, examples: int, examples_in_full: int
) -> None:
    """Whatever was lost, repeated, reordered, killed, restored, pruned or reinstalled before, and in whatever order."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples_in_full if full else examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
