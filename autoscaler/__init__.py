"""The controller: observes queues and consumers, decides how many consumers there should be, and has them started or stopped."""
