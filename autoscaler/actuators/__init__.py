"""What starts and stops consumers: each fills the `Actuator` port."""
