"""Fixtures of every test; see ``support``."""

pytest_plugins = [
    "support.bringup",
    "support.browser",
    "support.commands",
    "support.flights",
    "support.locales",
    "support.plants",
    "support.policies",
    "support.scripted_robot",
    "support.scripted_board",
    "support.training",
]
