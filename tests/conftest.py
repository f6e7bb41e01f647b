"""Settings that must stand before anything heavy is imported: no telemetry, no downloads, one thread a process."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
