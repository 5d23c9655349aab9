"""A record as one HTML page that needs no other file and no network.

``html.py`` has the parts of a page, ``charts.py`` the interactive plots, ``thinning.py`` what keeps
an hour small. ``run_page.py`` puts the page of a run together. Imports neither torch nor physics.
"""
