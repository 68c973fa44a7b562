"""Everything that runs beside the GPU: Celery's entry point, the supervisor, the engine."""
