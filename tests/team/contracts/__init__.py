"""Two job types: one that goes to two queues, and one with a priority and a deadline."""
