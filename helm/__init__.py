"""The chart is in headrace/; what stands beside it makes its schema, its table of values and its dashboard: `make docs`."""
