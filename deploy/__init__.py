"""From an ONNX policy to motor commands in real time: contract, pipeline, safety and the loop.

Runs on the robot computer: imports numpy, onnxruntime and the bridge; never torch, never physics.
"""
