"""The training loop, its objectives, optimizers, state and events. Knows no screen, no queue, no process."""
