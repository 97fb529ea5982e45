"""Credit: what a peer may cost with frames that ask nothing, before it is told to calm down. Pure."""

from lexchange.turbo.frames import ConnectionFault, ErrorCode

MOST, A_SECOND, AN_ANSWER = 2_000, 200, 8
RESET_COSTS = 4  # a frame of another kind costs 1


class Credit:
    """One peer's."""

    def __init__(self) -> None:
        self._left = MOST

    def spend(self, cost: int = 1) -> None:
        """Pay for a frame; raises ConnectionFault when there is nothing left."""
        self._left -= cost
        if self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that ask nothing")

    def earn(self, amount: int) -> None:
        """A second has passed, or an answer was completed."""
        if self._left < MOST:
            self._left = min(self._left + amount, MOST)
