"""What has gone wrong before, or easily could: each story ends with exact mirrors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model import stories
from tests.model.world import World

STORIES = [
    stories.several_at_once,
    stories.lost_on_the_way,
    stories.killed_with_something_pending,
    stories.told_during_a_job,
    stories.back_before_it_was_deleted,
    stories.restored_from_a_copy,
    stories.replayed_after_a_new_beginning,
    stories.empty_at_first,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_mirror_survives(story: Callable[[World], None]) -> None:
    """Exact, and without a full sync that the journal could have spared."""
    world = World()
    try:
        story(world)
    finally:
        world.close()
