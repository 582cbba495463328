"""Trackers: other people's dashboards, which follow a run's `events.jsonl` as far as they can keep up.

    run ──writes──→ events.jsonl ←──reads── one process per tracker (feed.py) ──→ TensorBoard, W&B, MLflow

A tracker lives in a process of its own (`process.py` starts and ends it, and a thread waits for it), so neither its imports
nor its pauses, memory, threads or crashes are the run's. It reads the file from its own place in it, which it keeps beside
the run: nothing is lost where it is slow, and nothing is written twice after a resume.

    points.py                            events → what a tracker can show
    tensorboard.py, wandb.py, mlflow.py  one tracker each, as `protocol.py` says
"""
