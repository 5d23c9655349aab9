"""JSON texts with an error in them."""

import json


def edited(text, *path_and_value):
    """Return a JSON text with one value replaced; a value of ``...`` removes the field."""
    *path, last, value = path_and_value
    data = json.loads(text)
    at = data
    for key in path:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(data)
