"""Fixtures of every test; see ``support``."""

from hypothesis import settings

# How long an example takes depends on what else this computer does.
settings.register_profile("any computer", deadline=None)
settings.load_profile("any computer")

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
