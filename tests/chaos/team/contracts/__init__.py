"""The job types of the chaos tests."""
