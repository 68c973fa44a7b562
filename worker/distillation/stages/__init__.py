"""A job's stages, in order: each has ``run(spec, workspace, reporter)`` and leaves a folder."""
