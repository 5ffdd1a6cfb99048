"""Bell: rings once for each transition that shows while a series grows."""

from slt.transitions.detection import Transition

CERTAINTY = 5.0  # standard errors that a change has to have


class Bell:
    """Told what `find_transitions` finds each time a checkpoint was added, it says which transitions are to be rung.

    Those whose change is at least `certainty` of its standard errors: a series that is looked at again and again has
    many occasions to look as if it had moved, so that more is asked than of a whole one. Each is rung once: one in the
    same direction that overlaps it, to within the intervals, is the same, moved a little.
    """

    def __init__(self, certainty: float = CERTAINTY):
        self._certainty = certainty
        self._rung: list[Transition] = []  # as they were when last found

    def listen(self, found: list[Transition]) -> list[Transition]:
        """Those of the transitions found now that have to be rung."""
        pairs = sorted(
            (abs(transition.middle - rung.middle), i, j)
            for i, transition in enumerate(found)
            for j, rung in enumerate(self._rung)
            if _same(transition, rung)
        )
        partner: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in partner and j not in partner.values():
                partner[i] = j
        for i, j in partner.items():
            self._rung[j] = found[i]
        ringing = [
            transition
            for i, transition in enumerate(found)
            if i not in partner and abs(transition.change) >= self._certainty * transition.change_error
        ]
        self._rung += ringing
        return ringing


def _same(one: Transition, other: Transition) -> bool:
    return (
        one.direction == other.direction
        and one.start_interval[0] <= max(other.end, other.end_interval[1])
        and other.start_interval[0] <= max(one.end, one.end_interval[1])
    )
