"""What has gone wrong before, or easily could: each story ends with exact mirrors, and leaves, where there are any."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model import stories, tier_stories
from tests.model.places import TIERS, Places
from tests.model.world import World

pytestmark = pytest.mark.slow

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


STORIES_OF_TIERS = [
    stories.several_at_once,
    stories.lost_on_the_way,
    stories.restored_from_a_copy,
    stories.replayed_after_a_new_beginning,
    tier_stories.a_relay_that_is_held_up,
    tier_stories.a_leaf_that_is_set_up_anew,
    tier_stories.a_folder_compared_with_an_unclean_relay,
    tier_stories.a_new_journal_while_a_comparison_is_owed,
    tier_stories.a_journal_that_went_back_before_any_update_was_heard,
    tier_stories.a_journal_that_went_back_when_only_the_leaf_knew,
    tier_stories.a_journal_that_went_back_when_only_the_leaf_knew_by_a_relay,
    tier_stories.put_into_a_folder_that_was_deleted,
    tier_stories.a_relay_restored_from_a_copy,
    tier_stories.a_relay_off_for_some_updates,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_mirror_survives(story: Callable[[World], None]) -> None:
    """Exact, and without a full sync that the journal could have spared."""
    world = World()
    try:
        story(world)
    finally:
        world.close()


@pytest.mark.parametrize("places", TIERS, ids=lambda places: "-".join(place.name for place in places))
@pytest.mark.parametrize("story", STORIES_OF_TIERS, ids=lambda story: story.__name__)
def test_every_tier_survives(story: Callable[[World], None], places: Places) -> None:
    """Wherever the relays stand: exact, and without a full sync that they or the journal could have spared."""
    world = World(places)
    try:
        story(world)
    finally:
        world.close()
