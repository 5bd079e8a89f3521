"""The tests' own package in the place of `app` (HEADRACE_APP): job types and handlers of their own, which need no server."""
