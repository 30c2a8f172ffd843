"""Sentences about a scene, in many wordings, with the attributes that each one names."""

from dataclasses import dataclass

import numpy as np

from .attributes import Scene, Subject

_KINDS = {
    "balloon": ("hot air balloon", "hot air balloon", "balloon", "hot-air balloon"),
    "house": ("house", "house", "cottage", "cabin", "little house"),
    "sailboat": ("sailboat", "sailboat", "sailing boat", "boat", "yacht"),
    "tree": ("pine tree", "pine tree", "tree", "fir tree", "pine"),
    "windmill": ("windmill", "windmill", "mill"),
    "lighthouse": ("lighthouse",),
    "castle": ("castle", "castle", "fortress"),
    "tent": ("tent", "tent", "camping tent"),
}
_COLORS = {
    "red": ("red", "red", "crimson", "bright red"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "white": ("white",),
    "black": ("black",),
}
_TERRAINS = {
    "mountains": ("mountains", "mountains", "the mountains", "a mountain range", "mountain peaks"),
    "hills": ("hills", "rolling hills", "the hills", "a hilly meadow"),
    "desert": ("desert dunes", "the desert", "sand dunes", "a desert", "dunes"),
    "forest": ("a forest", "the forest", "a pine forest", "the woods", "woods"),
    "lake": ("a lake", "a mountain lake", "the lake", "a calm lake"),
    "sea": ("the sea", "the sea", "the ocean", "the water", "a calm sea"),
}
_SEASON_WORDS = {
    "spring": ("spring", "springtime", "flowering"),
    "summer": ("summer",),
    "autumn": ("autumn", "fall"),
    "winter": ("snowy", "snow-covered", "winter"),
}
_SEASON_PHRASES = {
    "spring": ("in spring", "in springtime", "with blossoms"),
    "summer": ("in summer",),
    "autumn": ("in autumn", "in the fall", "with autumn leaves"),
    "winter": ("in winter", "covered in snow"),
}
_TIMES = {
    "dawn": ("at dawn", "in the early morning", "at sunrise", "in the morning"),
    "day": ("at noon", "in daylight", "during the day", "by day"),
    "sunset": ("at sunset", "in the evening", "at dusk", "during sunset"),
    "night": ("at night", "by night", "late at night"),
}
_TIME_NOUNS = {
    "dawn": ("dawn", "early morning", "sunrise"),
    "day": ("noon", "day", "daytime"),
    "sunset": ("sunset", "evening", "dusk"),
    "night": ("night", "nighttime"),
}
# These also speak of the weather, so they are said only where it fits.
_TIMES_CLEAR = {"day": ("on a clear day", "on a sunny day"), "night": ("under the stars", "on a starry night")}
_WEATHERS = {
    "clear": ("a clear sky", "under a clear sky", "cloudless sky"),
    "clouds": ("clouds", "with clouds", "clouds in the sky", "under a cloudy sky", "cloudy"),
    "rain": ("in the rain", "rain", "rainy weather", "raining"),
    "snow": ("in falling snow", "snowfall", "snowing", "while it snows"),
    "fog": ("in the fog", "fog", "foggy", "in the mist", "misty"),
}
_BODIES = {
    "sun": ("a sun in the sky", "the sun in the sky", "with the sun", "a bright sun"),
    "moon": ("a moon in the sky", "a full moon in the sky", "the moon in the sky", "with the moon", "under the moon"),
}
_POSITIONS = {
    "left": ("on the left", "on the left side", "to the left"),
    "middle": ("in the middle", "in the center", "in the centre"),
    "right": ("on the right", "on the right side", "to the right"),
}
_STYLES = ("a painting of ", "a picture of ", "an illustration of ", "a landscape with ", "a drawing of ")
_PREPOSITIONS = {
    "mountains": ("in", "in front of"),
    "hills": ("in", "on"),
    "desert": ("in", "on"),
    "forest": ("in", "in front of"),
    "lake": ("by", "at", "on"),
    "sea": ("on", "in"),
}


@dataclass(frozen=True)
class Caption:
    text: str
    # Heads of `attributes.HEADS` whose values the text gives, and the kinds of subject that it asks for.
    named: tuple[str, ...]


class _Writer:
    def __init__(self, scene: Scene, rng: np.random.Generator):
        self.scene, self.rng, self.named = scene, rng, []

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, words):
        return words[int(self.rng.integers(len(words)))]

    def name(self, head: str):
        if head not in self.named:
            self.named.append(head)

    def thing(self, subject: Subject) -> str:
        """Such as "a red hot air balloon on the left"."""
        words = self.pick(_KINDS[subject.kind])
        self.name(subject.kind)
        if self.chance(0.95):
            words = f"{self.pick(_COLORS[subject.color])} {words}"
            self.name(f"{subject.kind} color")
        if self.chance(0.3):
            words += f" {self.pick(_POSITIONS[subject.position])}"
            self.name(f"{subject.kind} position")
        return ("an " if words[0] in "aeiou" else "a ") + words

    def place(self) -> str:
        """Such as "snowy mountains"; the season is an adjective here or a phrase of its own."""
        scene = self.scene
        self.name("terrain")
        words = self.pick(_TERRAINS[scene.terrain])
        if scene.terrain == "hills" and scene.season == "summer" and self.chance(0.4):
            words = "green hills"
        if scene.season == "none" or not self.chance(0.75 if scene.season != "summer" else 0.25):
            return words
        self.name("season")
        if self.chance(0.4):
            return f"{words} {self.pick(_SEASON_PHRASES[scene.season])}"
        article, _, rest = words.partition(" ")
        adjective = self.pick(_SEASON_WORDS[scene.season])
        if article == "a":
            return f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {rest}"
        return f"the {adjective} {rest}" if article == "the" else f"{adjective} {words}"

    def when(self) -> str:
        self.name("time")
        words = _TIMES[self.scene.time]
        if self.scene.weather == "clear":
            words += _TIMES_CLEAR.get(self.scene.time, ())
        return self.pick(words)

    def noun_of_time(self) -> str:
        self.name("time")
        return self.pick(_TIME_NOUNS[self.scene.time])

    def things(self) -> list[str]:
        return [self.thing(subject) for subject in self.scene.subjects]

    def extras(self) -> list[str]:
        scene, parts = self.scene, []
        if scene.weather in ("rain", "snow", "fog") or self.chance(0.6 if scene.weather == "clouds" else 0.12):
            parts.append(self.pick(_WEATHERS[scene.weather]))
            self.name("weather")
        if scene.body != "none" and self.chance(0.55):
            parts.append(self.pick(_BODIES[scene.body]))
            self.name("body")
        if len(parts) == 2 and self.chance(0.5):
            parts.reverse()
        return parts

    def scenery(self) -> str:
        """Subjects in their place."""
        things, place = self.things(), self.place()
        if not things:
            return place
        if len(things) == 1 and self.scene.subjects[0].kind == "balloon":
            return f"{things[0]} {self.pick(('over', 'above', 'over'))} {place}"
        together = f" {self.pick(('and', 'and', 'with', 'next to'))} ".join(things)
        return f"{together} {self.pick(_PREPOSITIONS[self.scene.terrain])} {place}"

    def sentence(self) -> str:
        form = self.rng.random()
        if form < 0.08:
            return self.fragment()
        if form < 0.62:
            style = self.pick(_STYLES) if self.chance(0.25) else ""
            return ", ".join([f"{style}{self.scenery()} {self.when()}", *self.extras()])
        if form < 0.74:
            return ", ".join([self.scenery(), *self.extras(), self.when()])
        if form < 0.84:
            return ", ".join([self.noun_of_time(), self.scenery(), *self.extras()])
        if form < 0.92:
            return ", ".join([self.when(), self.scenery(), *self.extras()])
        return ", ".join([*self.things(), self.place(), self.noun_of_time(), *self.extras()])

    def fragment(self) -> str:
        """What a hurried person types: the subject alone, or the place, or the place and the hour."""
        if self.scene.subjects and self.chance(0.5):
            return " and ".join(self.things())
        return f"{self.place()} {self.when()}" if self.chance(0.5) else self.place()


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """One wording by lot. About one caption in twelve is a fragment; the others name all subjects and the hour."""
    writer = _Writer(scene, rng)
    text = writer.sentence()
    if rng.random() < 0.10:
        text = text[0].upper() + text[1:] + writer.pick((".", "", "!"))
    return Caption(text, tuple(writer.named))
