"""How much one client may have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.limits import HEADERS_AT_ONCE, REQUESTS_BURST_S, WASTED_REQUESTS, Clients, Limits

SMALL = Limits(connections=2, requests_per_second=3, traffic_bytes_per_minute=6000)
BURST = 3 * REQUESTS_BURST_S


def test_connections_are_counted_by_client() -> None:
    """A client has as many at once as it may, whatever others have; one that ends makes room."""
    clients = Clients(SMALL)
    assert [clients.connect("a", 0.0) for _ in range(3)] == [True, True, False]
    assert clients.connect("b", 0.0)
    clients.disconnect("a")
    assert [clients.connect("a", 0.0) for _ in range(2)] == [True, False]
    for _ in range(5):
        clients.disconnect("a")
        clients.disconnect("b")
    assert clients.remembered == 0


def test_requests_are_answered_up_to_a_burst_and_then_at_a_rate() -> None:
    """Whoever is refused is told when to come again, and is answered then."""
    clients = Clients(SMALL)
    assert [clients.request("a", 10.0) for _ in range(BURST)] == [0] * BURST
    wait_s = clients.request("a", 10.0)
    assert wait_s == 1
    assert clients.request("b", 10.0) == 0
    assert clients.request("a", 10.0 + wait_s) == 0


def test_whoever_asks_on_although_refused_cannot_even_connect() -> None:
    """Refused requests are owed too, up to a limit; when time has brought them the client is let in again."""
    clients = Clients(SMALL)
    for _ in range(BURST + 10 * 3):
        clients.request("a", 0.0)
    assert clients.connect("b", 0.0) and not clients.connect("a", 0.0)
    assert clients.request("a", 0.0) == clients.request("a", 0.0) == 11
    assert clients.connect("a", 5.0)
    assert clients.request("a", 11.0) == 0


def test_connections_without_a_request_are_not_for_nothing() -> None:
    """Whoever connects and says nothing that makes sense is let in less and less."""
    clients = Clients(SMALL)
    taken = 0
    for _ in range(100):
        if clients.connect("a", 0.0):
            taken += 1
            clients.disconnect("a")
            clients.waste("a", 0.0)
    assert taken == (BURST + 10 * 3) // WASTED_REQUESTS
    assert clients.connect("a", 60.0)


def test_headers_are_looked_at_up_to_a_burst_and_then_one_a_second() -> None:
    """Each client has a share of its own; whoever is refused is told when to show it again."""
    clients = Clients(SMALL)
    assert [clients.show("a", 10.0) for _ in range(HEADERS_AT_ONCE + 2)] == [0] * HEADERS_AT_ONCE + [1, 1]
    assert clients.show("b", 10.0) == 0
    assert [clients.show("a", 12.0) for _ in range(3)] == [0, 0, 1]
    assert clients.request("a", 12.0) == 0


def test_what_was_sent_is_paid_for_by_the_next_request() -> None:
    """An answer above the limit is not broken off; the client waits until the time has brought what it had."""
    clients = Clients(SMALL)
    assert clients.request("a", 0.0) == 0
    clients.sent("a", 6000 + 1200, 0.0)
    wait_s = clients.request("a", 0.0)
    assert wait_s == 13  # 100 bytes a second: twelve, and the one for the first byte to be had again
    assert clients.request("a", wait_s - 1.0) > 0
    assert clients.request("a", float(wait_s)) == 0


def test_a_million_clients_need_no_more_memory_than_ten_thousand() -> None:
    """Those that were seen last are remembered; a client that goes on is not forgotten."""
    clients = Clients(SMALL, max_clients=100)
    for _ in range(BURST):
        clients.request("busy", 0.0)
    for number in range(5000):
        clients.request(f"stranger {number}", 0.0)
        if number % 50 == 0:
            assert clients.request("busy", 0.0) >= 1
    assert clients.remembered == 100


steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.floats(0, 3), st.integers(0, 500), st.sampled_from(["ask", "open", "close"])),
    max_size=300,
)


@given(steps)
def test_no_client_ever_has_more_than_it_may(done: list[tuple[str, float, int, str]]) -> None:
    """Over any time: at most the burst and what the time brings; whoever waits as told is answered."""
    clients, now_s = Clients(SMALL), 0.0
    answered, sent_bytes, connected = {"a": 0, "b": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0}
    for client, pause_s, size_bytes, what in done:
        now_s += pause_s
        if what == "open":
            connected[client] += clients.connect(client, now_s)
        elif what == "close" and connected[client]:
            clients.disconnect(client)
            connected[client] -= 1
        elif clients.request(client, now_s) == 0:
            assert sent_bytes[client] <= 6000 + now_s * 100
            answered[client] += 1
            clients.sent(client, size_bytes, now_s)
            sent_bytes[client] += size_bytes
        assert connected[client] <= 2 and answered[client] <= BURST + 3 * now_s + 1e-6
    for client in "ab":
        wait_s = clients.request(client, now_s)
        assert clients.request(client, now_s + wait_s) == 0
