"""Room for work that takes long."""

import asyncio
import threading

import pytest

from app.errors import Unavailable
from app.room import Room, Turns


def test_some_are_in_at_once_some_wait_and_the_others_are_sent_away() -> None:
    room = Room("cakes are baked", places=1, waiting=1, patience_seconds=60)
    held, freed, entered = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with room.entered():
            held.set()
            assert freed.wait(60)

    def wait() -> None:
        with room.entered():
            entered.set()

    holder, waiter = threading.Thread(target=hold), threading.Thread(target=wait)
    holder.start()
    assert held.wait(60)
    waiter.start()
    while room._door._value:  # noqa: SLF001 (until the other waits)
        pass
    with pytest.raises(Unavailable, match="as many cakes are baked as may be"), room.entered():
        pass
    assert not entered.is_set()
    freed.set()
    assert entered.wait(60)
    holder.join()
    waiter.join()
    with room.entered():
        pass


def test_a_wait_in_vain_ends_and_leaves_the_room_as_it_was() -> None:
    room = Room("cakes are baked", places=1, waiting=3, patience_seconds=0.01)
    for _ in range(5):
        with room.entered(), pytest.raises(Unavailable), room.entered():
            pass
    with room.entered():
        pass


def test_who_gets_no_turn_in_time_is_sent_away_and_takes_none_from_others() -> None:
    async def bake() -> None:
        turns = Turns("cakes are baked", places=2, of_one_project=1, patience_seconds=0.1)
        async with turns.taken("a"), turns.taken("b"):
            for project in ("a", "c"):
                with pytest.raises(Unavailable, match="as many cakes are baked as may be"):
                    async with turns.taken(project):
                        pass
        async with turns.taken("c"), turns.taken("a"):
            pass

    asyncio.run(bake())
