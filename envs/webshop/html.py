"""Placeholder to be replaced."""


def html(session, goal, shop, score):
    return ""
