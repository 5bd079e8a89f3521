"""What fills the Actuator port: one package or file for each place that replicas run in."""
