"""The brace against shoves: times and angles worked out by hand."""

import dataclasses

import numpy as np
import pytest

from deploy.errors import ContractError
from deploy.policy.brace import Brace, BraceSpec
from deploy.policy.contract import Contract

LEG = (-0.4, 0.4, -0.4, 0.4, 0.8, 0.8, 0.8, 0.8)
SPEC = BraceSpec(start_rad_s=2.0, quiet_rad_s=0.5, hold_s=1.0, return_s=0.2, leg_rad=LEG)
WALKING = np.full(8, 1.2)


def drawn(braced: Brace, t_s: float) -> list[float]:
    return braced.draw(WALKING, t_s).tolist()


def test_it_waits_for_the_start_then_holds_and_gives_the_legs_back():
    braced = Brace(SPEC)
    braced.sense(1.99, 0.0)
    assert drawn(braced, 0.0) == WALKING.tolist()
    braced.sense(-2.01, 0.1)
    assert drawn(braced, 0.1) == list(LEG)
    braced.sense(0.4, 0.6)  # quiet: it does not last longer for that
    assert drawn(braced, 1.1) == list(LEG)
    braced.sense(1.9, 1.15)  # let go already, and 1.9 is no start
    assert drawn(braced, 1.15) == pytest.approx([0.25 * 1.2 + 0.75 * leg for leg in LEG])
    assert drawn(braced, 1.301) == WALKING.tolist()


def test_what_is_not_quiet_holds_it_for_longer():
    braced = Brace(SPEC)
    braced.sense(3.0, 0.0)
    braced.sense(0.6, 0.9)
    assert drawn(braced, 1.9) == list(LEG)
    braced.sense(0.6, 1.95)
    assert drawn(braced, 2.0) == pytest.approx([(1.2 + leg) / 2 for leg in LEG])


def test_it_braces_again_while_it_gives_back_and_forgets_at_a_reset():
    braced = Brace(SPEC)
    braced.sense(3.0, 0.0)
    braced.sense(-3.0, 1.1)
    assert drawn(braced, 1.1) == list(LEG)
    braced.reset()
    braced.sense(0.6, 0.0)
    assert drawn(braced, 0.0) == WALKING.tolist()


def test_a_contract_carries_it_exactly(contract):
    braced = dataclasses.replace(contract, action=dataclasses.replace(contract.action, brace=SPEC))
    assert Contract.from_json(braced.to_json()) == braced


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leg_rad": LEG[:7]}, "brace.leg_rad must have 8 values, has 7"),
        ({"quiet_rad_s": 2.1}, "brace.quiet_rad_s must be positive and at most start_rad_s"),
        ({"quiet_rad_s": 0.0}, "brace.quiet_rad_s must be positive"),
        ({"hold_s": -0.1}, r"brace.hold_s must be in \[0, 60\], is -0.1"),
        ({"leg_rad": (1e9, *LEG[1:])}, r"leg_rad\[0\] must be in \[-3.2, 3.2\], is 1000000000.0"),
    ],
)
def test_what_is_wrong_with_one_is_named(contract, change, message):
    wrong = dataclasses.replace(contract.action, brace=dataclasses.replace(SPEC, **change))
    with pytest.raises(ContractError, match=message):
        Contract.from_json(dataclasses.replace(contract, action=wrong).to_json())
