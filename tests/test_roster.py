"""Which of several endpoints gets a request: one that is well and little loaded, the same for a conversation."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from mentalize.llm.engine_counts import EngineCounts, counts_in
from mentalize.llm.roster import FIRST_REST, FRESH_SECONDS, LONGEST_REST, MARGIN, WAITING, Place, Roster
from openai_server import vllm_page


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def roster(count: int = 3) -> tuple[Roster, Seconds]:
    seconds = Seconds()
    places = [Place(f"http://10.0.0.{number}:8000/v1") for number in range(count)]
    return Roster(places, seconds, lambda: 1.0), seconds


def counts(*, running: int = 0, waiting: int = 0) -> EngineCounts:
    return EngineCounts(running=running, waiting=waiting, cache_queries=0, cache_hits=0)


def chosen(among: Roster, conversation: bytes, *, without: tuple[Place, ...] = ()) -> Place:
    place = among.choose(conversation, without=without)
    assert place is not None
    return place


def test_a_conversation_stays_where_it_is_and_conversations_spread() -> None:
    among, _ = roster()
    homes = {number: chosen(among, b"%d" % number) for number in range(300)}
    assert all(chosen(among, b"%d" % number) is home for number, home in homes.items())
    assert min(Counter(home.address for home in homes.values()).values()) > 70


def test_all_processes_agree_and_a_lost_endpoint_moves_only_its_own_conversations() -> None:
    among, _ = roster()
    other, _ = roster()
    other.failed(other.places[0])
    for number in range(100):
        here, there = chosen(among, b"%d" % number), chosen(other, b"%d" % number)
        assert here.address == there.address or here is among.places[0]


def test_affinity_yields_when_its_endpoint_has_much_more_to_do() -> None:
    among, _ = roster(2)
    home = chosen(among, b"ana")
    other = next(place for place in among.places if place is not home)
    home.in_work = MARGIN
    assert chosen(among, b"ana") is home
    home.in_work += 1
    assert chosen(among, b"ana") is other
    other.in_work = 1
    assert chosen(among, b"ana") is home


def test_what_others_ask_counts_while_it_is_fresh_and_a_queue_counts_more() -> None:
    among, seconds = roster(2)
    home = chosen(among, b"ana")
    home.in_work = 2
    among.told(home, counts(running=4), 2)
    assert home.load(seconds.now) == 4, "two of the four that run there are ours"
    among.told(home, counts(running=2, waiting=3), 2)
    assert home.load(seconds.now) == 2 + WAITING * 3
    assert chosen(among, b"ana") is not home
    seconds.now += FRESH_SECONDS + 1
    assert chosen(among, b"ana") is home


def test_rest_doubles_with_each_failure_in_succession_up_to_a_minute() -> None:
    among, seconds = roster(1)
    place = among.places[0]
    among.failed(place)
    rests: list[float] = []
    for _ in range(9):
        assert place.rests_until is not None
        rests.append(place.rests_until - seconds.now)
        seconds.now = place.rests_until
        assert among.due() == [place]
        among.looked_at(place, well=False)
    assert rests == [FIRST_REST * 2**step if step < 6 else LONGEST_REST for step in range(9)]
    among.looked_at(place, well=True)
    assert not place.rests
    among.answered(place, seconds.now + 1)
    among.failed(place)
    assert place.rests_until == seconds.now + FIRST_REST


def test_those_who_fail_together_make_one_failure() -> None:
    among, seconds = roster()
    for _ in range(30):
        among.failed(among.places[0])
    assert among.places[0].rests_until == seconds.now + FIRST_REST


def test_a_server_that_says_how_long_to_wait_is_left_alone_for_so_long() -> None:
    among, seconds = roster()
    among.failed(among.places[0], retry_after=17)
    among.failed(among.places[1], retry_after=86_400)
    assert among.places[0].rests_until == seconds.now + 17
    assert among.places[1].rests_until == seconds.now + LONGEST_REST


def test_a_timeout_says_something_only_where_nobody_was_answered_meanwhile() -> None:
    among, seconds = roster()
    busy, dead = among.places[:2]
    began = seconds.now
    seconds.now += 5
    among.answered(busy, began)
    seconds.now += 5
    among.was_silent(busy, began)
    among.was_silent(dead, began)
    assert (busy.rests, dead.rests) == (False, True)


def test_an_answer_to_what_was_asked_before_a_failure_ends_no_rest() -> None:
    among, seconds = roster()
    place = among.places[0]
    seconds.now += 1
    among.failed(place)
    among.answered(place, seconds.now - 1)
    assert place.rests
    among.answered(place, seconds.now + 1)
    assert not place.rests


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fail", "silent", "answer", "well", "ill", "told", "work", "time"]),
        st.integers(0, 3),
        st.integers(0, 40),
    ),
    max_size=60,
)


@given(steps=STEPS, size=st.integers(1, 4), conversation=st.binary(max_size=8), tried=st.sets(st.integers(0, 3)))
def test_whatever_happened_nobody_who_rests_is_chosen_while_another_is_well(
    steps: list[tuple[str, int, int]], size: int, conversation: bytes, tried: set[int]
) -> None:
    among, seconds = roster(size)
    without = [place for number, place in enumerate(among.places) if number in tried]
    for what, which, amount in steps:
        place = among.places[which % size]
        match what:
            case "fail":
                among.failed(place, retry_after=float(amount))
            case "silent":
                among.was_silent(place, seconds.now - amount)
            case "answer":
                among.answered(place, seconds.now - amount)
            case "well" | "ill" if place in among.due():
                among.looked_at(place, well=what == "well")
            case "told":
                among.told(place, counts(running=amount, waiting=which), place.in_work)
            case "work":
                place.in_work = amount
            case _:
                seconds.now += amount
        got = among.choose(conversation, without=without)
        left = [place for place in among.places if place not in without]
        assert (got is None) == (not left)
        if got is not None:
            assert got in left
            assert not (got.rests and any(not place.rests for place in left))
            if not got.rests:
                least = min(place.load(seconds.now) for place in left if not place.rests)
                assert got.load(seconds.now) <= least + MARGIN


def test_vllms_page_is_read() -> None:
    found = counts_in(vllm_page(running=3, waiting=2, queries=900, hits=300))
    assert found == EngineCounts(running=3, waiting=2, cache_queries=900, cache_hits=300)
    assert found is not None and found.hit_rate == 1 / 3
    assert counts().hit_rate is None
    assert counts_in("") is None
    assert counts_in("llamacpp:requests_processing 1\n") is None


LABEL = st.text(st.characters(codec="utf-8"), max_size=12)


@given(engines=st.lists(st.tuples(LABEL, st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=4))
def test_a_page_is_read_as_prometheus_writes_it_whatever_the_models_name(
    engines: list[tuple[str, int, int]],
) -> None:
    registry = CollectorRegistry()
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason")
    gauges = [Gauge(name, "Of a server.", ("engine", "model_name"), registry=registry) for name in names]
    for number, (name, *values) in enumerate(engines):
        for gauge, value in zip(gauges, (*values, 77), strict=True):
            gauge.labels(str(number), name).set(value)
    found = counts_in(generate_latest(registry).decode())
    assert found is not None
    assert found.running == sum(running for _, running, _ in engines)
    assert found.waiting == sum(waiting for _, _, waiting in engines)


@given(st.text() | st.text('vllm:nurqestigwa_{}"= 0123.eN\n', min_size=20))
def test_no_page_is_too_odd_to_be_read(page: str) -> None:
    counts_in(page)
    counts_in("vllm:num_requests_running" + page)
