"""What a painted tiger's attributes are in English: captions that are true, in many wordings.

Left and right are the viewer's.
"""

import random
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from tigerdiff.checks import check_kind, whole_number
from tigerdiff.tigers.tiger import CHOICES, Tiger

# The wordings of each value. {fur} is the fur's colour and a space, or nothing.
CAT = {
    "cub": ("{fur}tiger cub", "young {fur}tiger", "baby {fur}tiger"),
    "adult": ("adult {fur}tiger", "grown {fur}tiger", "full-grown {fur}tiger"),
}
PLACE = {
    "jungle": ("in the jungle", "in the rainforest"),
    "snow": ("in the snow", "on snowy ground"),
    "savanna": ("on the savanna", "in the dry grass"),
    "water": ("in the water", "in a lake"),
}
TIME = {
    "morning": ("in the morning", "early in the day"),
    "noon": ("at noon", "at midday"),
    "dusk": ("at dusk", "in the evening"),
}
NIGHT = ("at night", "on a dark night")  # the backdrop and the daytime in one
LOOK = {"closed": "quiet", "open": "open-mouthed", "roaring": "roaring"}
DOING = {
    "closed": ("with its mouth closed", "with its mouth shut"),
    "open": ("with its mouth open", "with an open mouth"),
    "roaring": ("roaring", "letting out a roar"),
}
VERB = {
    "closed": ("keeps its mouth closed", "keeps its mouth shut"),
    "open": ("opens its mouth", "has its mouth open"),
    "roaring": ("roars", "lets out a roar"),
}

PATTERNS = (
    "a {look} {cat} {scene}",
    "a {look} {plain} with {fur} fur {scene}",
    "a portrait of a {look} {cat} {scene}",
    "a picture of a {cat} {doing} {scene}",
    "a {cat} {doing} {scene}",
    "a {cat} {scene}, {doing}",
    "a {cat} {verb} {scene}",
    "a {plain} with {fur} fur {verb} {scene}",
    "{scene}, a {cat} {verb}",
    "{scene}, a {plain} with a {fur} coat {verb}",
)


def wide_eyed(tiger: Tiger) -> bool:
    """Say whether the eyes are open and large enough to see where they look."""
    return tiger.mouth != "roaring" and tiger.scale > 0.8


# Of each topic a caption says at most one thing, and only a true one: topic, wording, condition.
DETAILS: tuple[tuple[str, str, Callable[[Tiger], bool]], ...] = (
    ("gaze", "looking at you", lambda t: max(abs(t.gaze_x), abs(t.gaze_y), abs(t.turn)) < 0.25),
    ("gaze", "looking to the left", lambda t: t.gaze_x < -0.6 and t.turn < 0.2 and wide_eyed(t)),
    ("gaze", "looking to the right", lambda t: t.gaze_x > 0.6 and t.turn > -0.2 and wide_eyed(t)),
    ("gaze", "looking up", lambda t: t.gaze_y < -0.7 and wide_eyed(t)),
    ("gaze", "looking down", lambda t: t.gaze_y > 0.7 and wide_eyed(t)),
    ("head", "its head turned to the left", lambda t: t.turn < -0.6),
    ("head", "its head turned to the right", lambda t: t.turn > 0.6),
    ("head", "its head tilted to the left", lambda t: t.tilt < -7),
    ("head", "its head tilted to the right", lambda t: t.tilt > 7),
    ("ears", "its ears forward", lambda t: t.ears == "forward"),
    ("ears", "its ears out to the sides", lambda t: t.ears == "sideways"),
    ("ears", "its ears back", lambda t: t.ears == "back"),
    ("distance", "seen from close up", lambda t: t.scale > 0.97),
    ("distance", "seen from a little further away", lambda t: t.scale < 0.76),
    ("light", "lit from the left", lambda t: t.light < -40),
    ("light", "lit from the right", lambda t: t.light > 40),
    ("light", "lit from above", lambda t: abs(t.light) < 12),
    ("place", "a little to the left of the middle", lambda t: t.x < -0.1),
    ("place", "a little to the right of the middle", lambda t: t.x > 0.1),
)


def caption(tiger: Tiger, seed: int = 0) -> str:
    """Describe a painted tiger truly, as in "a roaring white tiger cub at night".

    It always says fur, age, mouth, backdrop and daytime ("at night" says the last two), and
    sometimes what else is clear to see. The words are in lower case.

    Args:
        tiger: the attributes.
        seed: chooses among the wordings; two tigers with one seed differ in their wording too.

    Returns:
        The caption; the same for the same tiger and seed, on any machine.

    Raises:
        ValueError: naming the argument that is not as above.
    """
    # Seeded by text and drawn from with random() alone: these Python promises to keep as they are.
    check_kind("tiger", tiger, Tiger)
    whole_number("seed", seed, 0)
    dice = random.Random(f"{seed} {tiger}")

    def pick(choices: Sequence[Any]) -> Any:
        return choices[int(dice.random() * len(choices))]

    if tiger.daytime == "night":
        scene = pick(NIGHT)
    else:
        place, time = pick(PLACE[tiger.backdrop]), pick(TIME[tiger.daytime])
        scene = pick((f"{place} {time}", f"{time} {place}"))
    cat = pick(CAT[tiger.age])
    pattern, doing, verb = pick(PATTERNS), pick(DOING[tiger.mouth]), pick(VERB[tiger.mouth])
    words = {"cat": cat.format(fur=f"{tiger.fur} "), "plain": cat.format(fur=""), "fur": tiger.fur}
    sentence = pattern.format(**words, look=LOOK[tiger.mouth], doing=doing, verb=verb, scene=scene)
    clear: dict[str, list[str]] = {}
    for topic, text, holds in DETAILS:
        if holds(tiger):
            clear.setdefault(topic, []).append(text)
    topics = list(clear.values())
    for _ in range(min(pick((0, 0, 1, 1, 2)), len(topics))):
        sentence += f", {pick(topics.pop(int(dice.random() * len(topics))))}"
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence)


_TABLES = (table.values() for table in (CAT, PLACE, TIME, DOING, VERB))
_WORDINGS = chain(*chain(*_TABLES), NIGHT, LOOK.values(), PATTERNS, CHOICES["fur"], ["an"])
_TEXTS = " ".join([*_WORDINGS, *(text for _, text, _ in DETAILS)])
VOCABULARY = tuple(sorted(set(re.findall(r"[a-z-]+", re.sub(r"{\w+}", " ", _TEXTS)))))
