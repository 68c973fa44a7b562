"""What crosses a boundary: the job spec, the job, reports and messages. Pydantic only."""
