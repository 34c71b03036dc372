"""The thought of a response: the text between <think> and </think>, in which nothing is an action."""

import re

_THOUGHT = re.compile(r"<think>(?:.*?(</think>)|.*)", re.DOTALL)


def after_thoughts(response: str) -> str:
    """The response without its thoughts. A thought that is never closed reaches to the end.

    >>> after_thoughts("<think>Take <action>this</action>?</think>look"), after_thoughts("look <think>or not")
    ('look', 'look ')
    """
    return _THOUGHT.sub("", response)


def has_thought(response: str) -> bool:
    """Whether the response holds a thought that is closed.

    >>> has_thought("<think></think>look"), has_thought("<think>look")
    (True, False)
    """
    return any(thought[1] for thought in _THOUGHT.finditer(response))
