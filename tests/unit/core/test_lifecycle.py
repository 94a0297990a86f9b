"""The lifecycle table: closed, complete, and enforced."""

from __future__ import annotations

from itertools import product

import pytest

from penstock.core.lifecycle import FINAL, TRANSITIONS, WAITING, Event, State, advance
from penstock.core.settlement import Settlement
from penstock.errors import InvalidTransition
from tests.support.settlement_events import EVENT_OF

OPERATOR = {Event.REQUEUE, Event.PRUNE}
"""What may still happen to a final job."""


def test_the_table_is_obeyed_in_every_cell() -> None:
    """For each state, event and target `advance` answers as the table says."""
    places = [None, *State]
    for state, event, to in product(places, Event, places):
        if to in TRANSITIONS.get((state, event), ()):
            assert advance(state, event, to) is to
        else:
            with pytest.raises(InvalidTransition, match=event):
                advance(state, event, to)


def test_a_refusal_names_the_ways_that_are_allowed() -> None:
    """The message says what was asked, and what could have been."""
    with pytest.raises(InvalidTransition, match="allowed: cancelled, running"):
        advance(State.RUNNING, Event.CANCEL, State.QUEUED)
    with pytest.raises(InvalidTransition, match="allowed: none"):
        advance(State.COMPLETED, Event.CLAIM, State.RUNNING)


def test_states_are_waiting_running_or_final() -> None:
    """The three kinds share no state and leave none out."""
    assert not WAITING & FINAL
    assert WAITING | FINAL | {State.RUNNING} == set(State)


def test_a_final_job_is_left_only_by_an_operator_or_by_retention() -> None:
    """No other event leads out of a final state."""
    for state, event in TRANSITIONS:
        assert state not in FINAL or event in OPERATOR


def test_every_final_state_can_be_requeued_and_pruned() -> None:
    """An operator finds a way out of each, and retention another."""
    for state in FINAL:
        assert State.QUEUED in TRANSITIONS[state, Event.REQUEUE]
        assert TRANSITIONS[state, Event.PRUNE] == {None}


def test_every_waiting_state_expires_and_can_be_cancelled() -> None:
    """`expires` and cancel cover every state in which a job waits, and no final one."""
    for state in State:
        assert ((state, Event.EXPIRE) in TRANSITIONS) == (state in WAITING)
        assert ((state, Event.CANCEL) in TRANSITIONS) == (state not in FINAL)


def test_every_state_is_reached_and_can_end() -> None:
    """From enqueue every state is reached, and from every state a final one."""
    reached: set[State | None] = {None}
    while True:
        further = {
            to for (state, _), ends in TRANSITIONS.items() if state in reached for to in ends
        }
        if further <= reached:
            break
        reached |= further
    assert reached == {None, *State}
    can_end: set[State | None] = set(FINAL)
    while True:
        further = {state for (state, _), ends in TRANSITIONS.items() if ends & can_end}
        if further <= can_end:
            break
        can_end |= further
    assert can_end >= set(State)


def test_only_a_claim_starts_a_job() -> None:
    """Running is entered by claim alone; reclaim only changes hands."""
    into = {(state, event) for (state, event), ends in TRANSITIONS.items() if State.RUNNING in ends}
    assert into == {
        (State.QUEUED, Event.CLAIM),
        (State.RUNNING, Event.RECLAIM),
        (State.RUNNING, Event.CANCEL),
    }


def test_every_settlement_has_its_event() -> None:
    """Each kind of settlement makes one transition out of running."""
    assert set(EVENT_OF) == set(Settlement.__args__)
    for event in EVENT_OF.values():
        assert (State.RUNNING, event) in TRANSITIONS


def test_values_are_the_stored_words() -> None:
    """States and events are stored and shown as their lower-case names."""
    for member in [*State, *Event]:
        assert member.value == member.name.lower()
