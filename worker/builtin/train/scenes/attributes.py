"""What a scene is made of: a handful of named choices, each of which can be asked for and measured."""

from dataclasses import dataclass

import numpy as np

TIMES = ("dawn", "day", "sunset", "night")
TERRAINS = ("mountains", "hills", "desert", "forest", "lake", "sea")
SEASONS = ("spring", "summer", "autumn", "winter")
WEATHERS = ("clear", "clouds", "rain", "snow", "fog")
BODIES = ("none", "sun", "moon")
KINDS = ("balloon", "house", "sailboat", "tree", "windmill", "lighthouse", "castle", "tent")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
POSITIONS = ("left", "middle", "right")

# Which subjects stand where; every terrain has the sky for a balloon.
KINDS_OF_TERRAIN = {
    "mountains": ("balloon", "house", "tree", "castle", "tent"),
    "hills": ("balloon", "house", "tree", "windmill", "castle", "tent"),
    "desert": ("balloon", "house", "castle", "tent", "windmill"),
    "forest": ("balloon", "house", "castle", "tent"),
    "lake": ("balloon", "sailboat", "house", "tree", "tent"),
    "sea": ("balloon", "sailboat", "lighthouse"),
}
TERRAINS_WITH_SEASONS = ("mountains", "hills", "forest", "lake")

ABSENT = "absent"
# One head per question that a caption can ask; the judge and the text warm-up both answer these.
HEADS: dict[str, tuple[str, ...]] = {
    "time": TIMES,
    "terrain": TERRAINS,
    "season": ("none", *SEASONS),
    "weather": WEATHERS,
    "body": BODIES,
    **{f"{kind} color": (ABSENT, *COLORS) for kind in KINDS},
    **{f"{kind} position": (ABSENT, *POSITIONS) for kind in KINDS},
}


@dataclass(frozen=True)
class Subject:
    kind: str
    color: str
    position: str


@dataclass(frozen=True)
class Scene:
    time: str
    terrain: str
    season: str
    weather: str
    body: str
    subjects: tuple[Subject, ...]

    def values(self) -> dict[str, str]:
        """The answer to every head of `HEADS`."""
        answers = {name: getattr(self, name) for name in ("time", "terrain", "season", "weather", "body")}
        for kind in KINDS:
            subject = next((subject for subject in self.subjects if subject.kind == kind), None)
            answers[f"{kind} color"] = subject.color if subject else ABSENT
            answers[f"{kind} position"] = subject.position if subject else ABSENT
        return answers

    def labels(self) -> list[int]:
        """`values` as class indices, in the order of `HEADS`."""
        values = self.values()
        return [names.index(values[head]) for head, names in HEADS.items()]


def _choice(rng: np.random.Generator, names, weights=None) -> str:
    if weights is None:
        return names[int(rng.integers(len(names)))]
    weights = np.asarray(weights, float)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _subjects(rng: np.random.Generator, terrain: str) -> tuple[Subject, ...]:
    count = int(rng.choice(3, p=[0.12, 0.70, 0.18]))
    kinds = KINDS_OF_TERRAIN[terrain]
    # A balloon fits everywhere and would crowd out the others.
    weights = np.array([0.6 if kind == "balloon" else 1.0 for kind in kinds])
    chosen = rng.choice(len(kinds), size=min(count, len(kinds)), replace=False, p=weights / weights.sum())
    if count == 2:
        positions = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    else:
        positions = (_choice(rng, POSITIONS),)
    return tuple(Subject(kinds[k], _choice(rng, COLORS), positions[i]) for i, k in enumerate(chosen))


def sample(rng: np.random.Generator) -> Scene:
    """One scene by lot; combinations that nobody would ask for, such as snow in the desert, do not occur."""
    time = _choice(rng, TIMES)
    terrain = _choice(rng, TERRAINS)
    season = _choice(rng, SEASONS, (2, 4, 2, 2)) if terrain in TERRAINS_WITH_SEASONS else "none"
    snow = 2.5 if season == "winter" else 0
    rain = 0 if terrain == "desert" or season == "winter" else 1
    weather = _choice(rng, WEATHERS, (4, 3, rain, snow, 0.8))
    visible = weather in ("clear", "clouds") and rng.random() < 0.75
    body = ("moon" if time == "night" else "sun") if visible else "none"
    return Scene(time, terrain, season, weather, body, _subjects(rng, terrain))
