"""Bell: rings once for each transition that shows while a series grows."""

from dataclasses import dataclass

from slt.transitions.detection import Transition

LOOKS = 2  # in a row that have to show a transition before it is rung


@dataclass
class _Known:
    last: Transition
    looks: int = 1
    rung: bool = False


class Bell:
    """Told what `find_transitions` finds each time a checkpoint was added, it says which transitions are to be rung.

    Each once: one in the same direction that overlaps it, to within the intervals, is the same, moved a little. It is
    rung when `looks` looks in a row have shown it, because the last points of a series are easily mistaken for the
    beginning of something.
    """

    def __init__(self, looks: int = LOOKS):
        self._looks = looks
        self._known: list[_Known] = []

    def listen(self, found: list[Transition]) -> list[Transition]:
        """Those of the transitions found now that have to be rung."""
        pairs = sorted(
            (abs(transition.middle - known.last.middle), i, j)
            for i, transition in enumerate(found)
            for j, known in enumerate(self._known)
            if _same(transition, known.last)
        )
        partner: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in partner and j not in partner.values():
                partner[i] = j
        kept = [known for j, known in enumerate(self._known) if known.rung and j not in partner.values()]
        ringing = []
        for i, transition in enumerate(found):
            before = self._known[partner[i]] if i in partner else None
            looks, rung = (before.looks + 1, before.rung) if before else (1, False)
            if looks >= self._looks and not rung:
                ringing.append(transition)
                rung = True
            kept.append(_Known(transition, looks, rung))
        self._known = kept
        return ringing


def _same(one: Transition, other: Transition) -> bool:
    return (
        one.direction == other.direction
        and one.start_interval[0] <= max(other.end, other.end_interval[1])
        and other.start_interval[0] <= max(one.end, one.end_interval[1])
    )
