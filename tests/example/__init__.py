"""Of the example in `app/`: they go with it."""
