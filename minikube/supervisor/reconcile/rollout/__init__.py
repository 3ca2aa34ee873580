"""Restarts: `rollout` restarts the replicas of a service one after another, `plan` decides which is next, `single`
restarts one instance and watches how it starts."""
