"""The stages of a job, in order: each has ``run(run: Run) -> None`` and leaves its output in the workspace."""
