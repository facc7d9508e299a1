"""The exported model. Whatever reads or asks one imports this package first, and so before onnxruntime."""

import os

# Its official builds send what they see to their maker, and keep a number of this machine in the user's home folder. They
# read this once, when they are imported; `disable_telemetry_events` comes too late for the number.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
