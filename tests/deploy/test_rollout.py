from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from deploy.cluster.rollout import Action, Observed, Phase, Step, next_step

FORWARD = {Action.PROBE, Action.REPLACE, Action.COMMIT}
PROBE = [True, False]


def every_observation() -> Iterator[Observed]:
    for loaded, failure, passed, settled, overdue in itertools.product(
        (False, True), ("", "ImportError: no"), (False, True), (False, True), (False, True)
    ):
        yield Observed(
            loaded=loaded, failure=failure, passed=passed, settled=settled, overdue=overdue
        )


@pytest.mark.parametrize(
    ("phase", "observed", "action"),
    [
        (Phase.LOADING, Observed(), Action.WAIT),
        (Phase.LOADING, Observed(loaded=True), Action.PROBE),
        (Phase.LOADING, Observed(settled=True, overdue=True), Action.WAIT),
        (Phase.LOADING, Observed(failure="f"), Action.REFUSE),
        (Phase.PROBING, Observed(loaded=True), Action.WAIT),
        (Phase.PROBING, Observed(loaded=True, passed=True), Action.REPLACE),
        (Phase.PROBING, Observed(loaded=True, settled=True), Action.WAIT),
        (Phase.PROBING, Observed(loaded=True, failure="f"), Action.REFUSE),
        (Phase.REPLACING, Observed(loaded=True, passed=True), Action.WAIT),
        (Phase.REPLACING, Observed(loaded=True, passed=True, settled=True), Action.COMMIT),
        (Phase.REPLACING, Observed(loaded=True, overdue=True), Action.WAIT),
        (Phase.REPLACING, Observed(loaded=True, failure="f"), Action.RETURN),
        (Phase.RETURNING, Observed(failure="f"), Action.WAIT),
        (Phase.RETURNING, Observed(failure="f", settled=True), Action.REFUSE),
        (Phase.RETURNING, Observed(failure="f", overdue=True), Action.REFUSE),
        (Phase.RETURNING, Observed(), Action.WAIT),
    ],
)
def test_each_phase_goes_on_with_what_it_waits_for(
    phase: Phase, observed: Observed, action: Action
) -> None:
    assert next_step(phase, observed, probe=True).action is action


def test_without_the_probe_a_loaded_candidate_replaces_at_once() -> None:
    assert next_step(Phase.LOADING, Observed(loaded=True), probe=False) == Step(Action.REPLACE)


@pytest.mark.parametrize("probe", PROBE)
@pytest.mark.parametrize("phase", Phase)
def test_a_failure_never_leads_forward_and_is_the_reason(phase: Phase, probe: bool) -> None:
    for observed in every_observation():
        step = next_step(phase, observed, probe=probe)
        if observed.failure:
            assert step.action not in FORWARD
        if observed.failure and phase is not Phase.RETURNING:
            assert step.reason == observed.failure
        if not observed.failure:
            assert step.reason == ""


@pytest.mark.parametrize("probe", PROBE)
def test_nothing_is_committed_but_a_settled_candidate(probe: bool) -> None:
    for phase, observed in itertools.product(Phase, every_observation()):
        if next_step(phase, observed, probe=probe).action is Action.COMMIT:
            assert phase is Phase.REPLACING
            assert observed.settled
            assert not observed.failure


@pytest.mark.parametrize("probe", PROBE)
def test_workers_that_were_replaced_are_taken_back_before_a_refusal(probe: bool) -> None:
    for phase, observed in itertools.product(Phase, every_observation()):
        action = next_step(phase, observed, probe=probe).action
        if phase is Phase.REPLACING:
            assert action is not Action.REFUSE
        else:
            assert action is not Action.RETURN


@pytest.mark.parametrize("probe", PROBE)
def test_a_return_only_ends_in_a_refusal(probe: bool) -> None:
    for observed in every_observation():
        action = next_step(Phase.RETURNING, observed, probe=probe).action
        done = observed.settled or observed.overdue
        assert action is (Action.REFUSE if done else Action.WAIT)


def test_the_canary_is_asked_once_and_only_when_there_is_a_probe() -> None:
    for phase, observed in itertools.product(Phase, every_observation()):
        assert next_step(phase, observed, probe=False).action is not Action.PROBE
        if next_step(phase, observed, probe=True).action is Action.PROBE:
            assert phase is Phase.LOADING


def test_a_reload_that_goes_well_takes_three_steps() -> None:
    """The way of a reload as `reloading.py` goes it: each action leads to the next phase."""
    after = {Action.PROBE: Phase.PROBING, Action.REPLACE: Phase.REPLACING}
    seen = Observed(loaded=True, passed=True, settled=True)
    phase = Phase.LOADING
    taken: list[Action] = []
    while not taken or taken[-1] in after:
        taken.append(next_step(phase, seen, probe=True).action)
        phase = after.get(taken[-1], phase)
    assert taken == [Action.PROBE, Action.REPLACE, Action.COMMIT]
