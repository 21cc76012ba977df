"""The protocol against everything that can happen to it: at the end every mirror is exact, and all is told truly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine

pytestmark = pytest.mark.slow

EXAMPLES, EXAMPLES_IN_FULL = 100, 5_000


@pytest.mark.timeout(3 * 3600)
def test_every_mirror_is_exact_in_the_end(full: bool) -> None:
    """Whatever was lost, repeated, reordered, killed, restored, pruned or reinstalled before, and in whatever order."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES_IN_FULL if full else EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
