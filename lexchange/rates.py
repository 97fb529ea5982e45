"""How often a source may ask, and a buyer be asked: a count for each and each second, per process. No I/O."""


class RateWindow:
    """Fixed one-second windows."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, int]] = {}  # owner -> (second, count)

    def admit(self, owner: str, per_second: int | None, now_ms: int) -> bool:
        """Count one ping of the owner; False when this second's are used up. No limit admits everything."""
        if per_second is None:
            return True
        second = now_ms // 1000
        window, count = self._windows.get(owner, (second, 0))
        if window != second:
            count = 0
        if count >= per_second:
            return False
        self._windows[owner] = second, count + 1
        return True
