"""The chart is in headrace/; the modules beside it make its schema, its table of values and its dashboard: `make docs`."""
