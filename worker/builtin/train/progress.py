"""The progress line of every stage: how far, losses, time left; and the time box."""

import sys
import time


class Progress:
    """Prints one line every few seconds: `vae 1200/20000 6.1/s left 51:12 loss 0.0312 psnr 28.91`."""

    def __init__(self, name: str, total: int, start: int = 0, minutes: float | None = None, every_s: float = 5.0):
        self.name, self.total, self.start = name, total, start
        self.begun = time.monotonic()
        self.end = self.begun + minutes * 60 if minutes else None
        self.every_s = every_s
        self.printed = 0.0
        self.smoothed: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def time_is_up(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end

    @property
    def share_of_time(self) -> float:
        """How much of the time box is used, 0 to 1; 0 where there is none."""
        return 0.0 if self.end is None else min(self.seconds / (self.end - self.begun), 1.0)

    @property
    def due(self) -> bool:
        """Whether `report` would print; lets a loop read losses from the device only then."""
        return time.monotonic() - self.printed >= self.every_s

    def report(self, done: int, losses: dict[str, float], note: str = ""):
        """`losses` are smoothed over the lines that are printed, except names that end in `!`."""
        for name, value in losses.items():
            before = self.smoothed.get(name, value)
            self.smoothed[name] = value if name.endswith("!") else 0.7 * before + 0.3 * value
        if not self.due and done < self.total:
            return
        self.printed = time.monotonic()
        rate = (done - self.start) / max(self.seconds, 1e-6)
        left = (self.total - done) / rate if rate else float("inf")
        if self.end is not None:
            left = min(left, self.end - time.monotonic())
        parts = [f"{self.name} {done}/{self.total}", f"{rate:.2f}/s", f"left {clock(left)}"]
        parts += [f"{name.rstrip('!')} {value:.4g}" for name, value in self.smoothed.items()]
        print("  ".join([*parts, note]).rstrip(), flush=True)


def clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, seconds = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def say(*words):
    print(*words, flush=True, file=sys.stdout)
