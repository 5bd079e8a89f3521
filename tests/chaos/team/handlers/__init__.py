"""The handlers of the chaos tests.

A consumer that the controller starts has the controller's environment. A fault between the controller and a server must not
be wrong for its consumers too: CHAOS_CONSUMER_… says where theirs are. This is imported before any setting is read.
"""

import os

for _name in ("BROKER", "OUTCOMES"):
    if _url := os.environ.get(f"CHAOS_CONSUMER_{_name}"):
        os.environ[f"HEADRACE_{_name}"] = _url
