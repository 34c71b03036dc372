"""Choose which admissible actions a prompt lists when there is no room for all of them."""

import re
from collections import Counter
from collections.abc import Sequence

_AFTER_VERB = re.compile(r"[ \[]")  # "take mug 1 from desk 1", "click[buy now]"


def kept_actions(listed: Sequence[str], most: int | None) -> Sequence[str]:
    """At most `most` actions in the world's order, with as many different verbs as possible.

    The first action of each verb is kept first, then the second of each verb, and so on: losing a few of forty places
    to go to hurts less than losing the only thing to take.
    """
    if most is None or most >= len(listed):
        return listed
    uses: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []  # (how often its verb came before, place in the list)
    for place, action in enumerate(listed):
        verb = _AFTER_VERB.split(action, maxsplit=1)[0]
        ranked.append((uses[verb], place))
        uses[verb] += 1
    return [listed[place] for place in sorted(place for _, place in sorted(ranked)[:most])]
