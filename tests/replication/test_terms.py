"""The register of what two nodes agreed on: any order of changes and messages ends with the same terms on both."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.replication.messages import Stream, Term
from engine.replication.terms import Neighbour, Subscription, mirrored

NORTH, SOUTH = "a-north", "b-south"
STREAMS = [Stream("dev", name) for name in ("cat", "dog")]

acts = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.booleans(), st.sampled_from(STREAMS), st.booleans(), st.booleans()),
        st.tuples(st.just("remove"), st.booleans()),
        st.tuples(st.just("tell"), st.booleans()),
    ),
    max_size=20,
)


class Two:
    """The two nodes' views of each other, and what each does to its own."""

    def __init__(self) -> None:
        self.views = {True: Neighbour("south", SOUTH), False: Neighbour("north", NORTH)}
        self.uuids = {True: NORTH, False: SOUTH}

    def do(self, act: tuple[object, ...]) -> None:
        kind, who, *rest = act
        view = self.views[bool(who)]
        stamp = view.next_stamp(1, self.uuids[bool(who)])
        if kind == "set":
            stream, publish, subscribe = rest
            self.views[bool(who)] = view.with_terms([(stream, Subscription(bool(publish), bool(subscribe), stamp))])  # type: ignore[list-item]
        elif kind == "remove":
            self.views[bool(who)] = view.without_terms(stamp)
        else:
            self.tell(bool(who))

    def tell(self, who: bool) -> None:
        self.views[not who] = self.views[not who].merged(self.views[who].agreement({}))


def shape(view: Neighbour) -> dict[Stream, tuple[bool, bool, int]]:
    return {stream: (s.publish, s.subscribe, s.stamp) for stream, s in view.subscriptions.items()}


@given(acts)
def test_both_end_with_mirrored_terms(history: list[tuple[object, ...]]) -> None:
    two = Two()
    for act in history:
        two.do(act)
    two.tell(True)
    two.tell(False)
    two.tell(True)
    north, south = two.views[True], two.views[False]
    assert {k: (s, p, t) for k, (p, s, t) in shape(north).items()} == shape(south)
    assert north.agrees(south.agreement({}))
    assert south.agrees(north.agreement({}))
    assert north.removed == south.removed


@given(acts)
def test_hearing_something_twice_changes_nothing(history: list[tuple[object, ...]]) -> None:
    two = Two()
    for act in history:
        two.do(act)
    said = two.views[True].agreement({})
    once = two.views[False].merged(said)
    assert once.merged(said) == once


def test_what_is_joined_stays_joined_only_while_the_same_table_is_subscribed_to() -> None:
    subscription = Subscription(False, True, 2, joined=True, table_id="one")
    for publish, table_id, joined in [
        (True, "one", True),
        (False, "one", False),  # the other side does not publish any more
        (True, "one", False),  # and again, but what was missed meanwhile is missing
    ]:
        term = Term("dev", "dog", subscription.stamp + 2, publish, True, None, "id")
        subscription = mirrored(term, subscription, table_id)
        assert subscription.joined is joined
        assert subscription.subscribe is publish
    joined_again = replace(subscription, joined=True)
    term = Term("dev", "dog", subscription.stamp + 2, True, True, None, "id")
    assert mirrored(term, joined_again, "one").joined
    assert not mirrored(term, joined_again, "two").joined
