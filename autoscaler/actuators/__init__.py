"""The programs and APIs that start and stop consumers: each fills the `Actuator` port."""
