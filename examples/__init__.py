"""Small job types, one for each thing that a handler may need. They run instead of `app` where HEADRACE_APP=examples."""
