"""An attacker as a program, between a publisher and its subscriber, who has two relays in his hand as well.

``python -m tests.hostile.flooding FILE``; the file has its orders as JSON. It hands on what the publisher says, begins
at a line on standard input, tells when it is through and how much that was, and then hands on until the input ends.
"""

from __future__ import annotations

import json
import random
import select
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import zmq

from pushmirror.keys import load_private_key
from tests.hostile.frames import Arsenal, Followed, Frames

TICK_S = 0.005
PINNED_SHARE = 0.05
REPLAYED = 50


class BusAttack:
    """Hands on what the publisher says, and says more: on its own connection, and on those of two relays."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._chance = random.Random(orders["seed"])
        context = zmq.Context()
        self._above = context.socket(zmq.SUB)
        self._above.setsockopt(zmq.SUBSCRIBE, b"")
        self._above.connect(orders["above"])
        self._doors = [context.socket(zmq.PUB) for _ in orders["doors"]]
        for door, endpoint in zip(self._doors, orders["doors"], strict=True):
            door.setsockopt(zmq.SNDHWM, 10_000)
            door.bind(endpoint)
        self._recorded: deque[Frames] = deque(maxlen=REPLAYED)
        self.sent: Counter[str] = Counter()
        self._context = context

    def hand_on(self, until: float) -> None:
        """Be a good bus until that time."""
        while (left_s := until - time.monotonic()) > 0 and self._above.poll(max(1, int(1000 * left_s))):
            frames = self._above.recv_multipart()
            self._recorded.append(frames)
            self._doors[0].send_multipart(frames)

    def wait_for_word(self) -> None:
        """Be a good bus until there is something on standard input, or it ends."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            self.hand_on(time.monotonic() + 0.02)
        sys.stdin.readline()

    def attack(self) -> None:
        """Send as many messages as wanted, that fast, in turns on each connection."""
        pools = self._load()
        rate, count = self._orders["rate"], self._orders["count"]
        started = time.monotonic()
        while (sent := sum(self.sent.values())) < count:
            self.hand_on(started + sent / rate)
            for _ in range(min(count - sent, max(1, int(rate * TICK_S)))):
                self._send_one(pools)
            self.hand_on(time.monotonic() + 0.0005)

    def _load(self) -> dict[str, list[Frames]]:
        orders = self._orders
        followed = Followed(**orders["followed"])
        pinned, stranger = load_private_key(Path(orders["pinned"])), load_private_key(Path(orders["stranger"]))
        arsenal = Arsenal(followed, pinned, stranger, self._chance)
        pools = {"stranger": list(arsenal.by_strangers()), "pinned": list(arsenal.by_the_pinned_key())}
        pools["relay"] = [frames for name in orders["relays"] for frames in arsenal.by_a_relay(name, stranger)]
        pools["replayed"] = [frames for frames in self._recorded if frames[0] == orders["updated"].encode()] or [[b"x"]]
        return pools

    def _send_one(self, pools: dict[str, list[Frames]]) -> None:
        door = self._chance.randrange(len(self._doors))
        draw = self._chance.random()
        sort = "pinned" if draw < PINNED_SHARE else "replayed" if draw < 0.2 else "relay" if door and draw < 0.4 else ""
        sort = sort or "stranger"
        self._doors[door].send_multipart(self._chance.choice(pools[sort]))
        self.sent[sort] += 1

    def close(self) -> None:
        """Let go of all sockets."""
        for each in (self._above, *self._doors):
            each.close(0)
        self._context.term()


def main(orders: dict[str, Any]) -> None:
    attack = BusAttack(orders)
    print("ready", flush=True)
    attack.wait_for_word()
    attack.attack()
    print(json.dumps(attack.sent), flush=True)
    attack.wait_for_word()
    attack.close()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
